// The plugin's row of the table: texts of its values, its files, and what is a mistake in them.
#include "runtime/backends/plugin/engine.h"

#include <gtest/gtest.h>

#include "tests/fakes/folder.h"

namespace isobit {
namespace {

std::string text_of(const EnginePairs& pairs) {
  const auto choice = parse_engine(pairs);
  if (!choice) return "error: " + choice.error().message;
  const std::string text = choice->text();
  const auto again = parse_engine(text);
  EXPECT_TRUE(again) << text;
  EXPECT_EQ(again ? again->text() : "", text);
  return text;
}

std::string check(const std::string& file, const std::string& folder) {
  const auto choice = parse_engine({{"plugin", file}}, folder);
  EXPECT_TRUE(choice);
  const auto ok = check_plugin(*choice);
  return ok ? "" : ok.error().text();
}

/// Allows external engines for one scope.
struct Allowed {
  Allowed() { allow_external(true); }
  ~Allowed() { allow_external(false); }
};

TEST(PluginEngine, OneTextAMeaning) {
  EXPECT_EQ(text_of({{"plugin", "./a/../my.so"}}), "plugin:my.so");
  EXPECT_EQ(text_of({{"tile", "64"}, {"plugin", "/lib/my.so"}, {"order", "x"}}),
            "plugin:/lib/my.so+order:x+tile:64");
  EXPECT_EQ(text_of({{"plugin", ""}}), "plugin");  // any plugin, in patterns
}

TEST(PluginEngine, WhatWouldBreakATextIsEscapedOrRefused) {
  EXPECT_EQ(text_of({{"plugin", "./a b+.so"}, {"x", "1:2 \"3\""}}),
            "plugin:a%20b%2B.so+x:1:2%20%223%22");
  for (const char* name : {"x+", "x:y", "a b", ""}) {
    EXPECT_TRUE(text_of({{"plugin", "a.so"}, {name, "1"}})
                    .starts_with("error: an option of engine plugin is a word of letters"))
        << name;
  }
  EXPECT_EQ(text_of({{"plugin", "a.so"}, {"plugin", "b.so"}}),
            "error: option \"plugin\" of plugin is given twice");
  EXPECT_EQ(text_of({{"plugin", ""}, {"x", "1"}}),
            "error: engine plugin needs the file of a plugin, e.g. {plugin: ./kernels.so}");
}

TEST(PluginEngine, ItsFileIsBesideTheScenario) {
  const fakes::Folder folder;
  const std::string file = folder.write("deep/my own.so", "x");
  const auto choice = parse_engine({{"plugin", "my%20own.so"}}, folder.file("deep"));
  ASSERT_TRUE(choice);
  EXPECT_EQ(plugin_libraries(*choice), std::vector<std::string>{file});
  EXPECT_TRUE(plugin_libraries(EngineChoice{}).empty());
  EXPECT_TRUE(plugin_libraries(*parse_engine("plugin:gone.so")).empty());
}

TEST(PluginEngine, MistakesAreNamedWithTheirFile) {
  const fakes::Folder folder;
  const std::string text = folder.write("text.so",
                                        "this is no library, and it is long enough to "
                                        "be one if anybody only looks at its size");
  EXPECT_EQ(check("gone.so", folder.path()),
            "plugin " + folder.file("gone.so") + ": there is no such file");
  EXPECT_EQ(check(".", folder.path()), "plugin " + folder.path() + "/: it is no file");
  EXPECT_EQ(check("text.so", folder.path()).substr(0, text.size() + 28),
            "plugin " + text + ": it cannot be loaded");
  EXPECT_EQ(check(ISOBIT_FAKE_NVML, ""),
            std::string("plugin ") + ISOBIT_FAKE_NVML +
                ": it is no plugin of Isobit: it lacks isobit_plugin_abi (plugin_abi.h)");
  EXPECT_EQ(check(ISOBIT_FAKE_PLUGIN_9, ""),
            std::string("plugin ") + ISOBIT_FAKE_PLUGIN_9 +
                ": it was built for version 9 of the plug-in interface, this program has version "
                "1; compile it with this program's plugin_abi.h");
  EXPECT_EQ(check(ISOBIT_FAKE_PLUGIN_CLOSED, ""),
            std::string("plugin ") + ISOBIT_FAKE_PLUGIN_CLOSED + ": it lacks isobit_plugin_open");
  EXPECT_EQ(check(ISOBIT_FAKE_PLUGIN, ""), "");
  EXPECT_FALSE(check_plugin(*parse_engine("plugin")));
}

TEST(PluginEngine, ItRunsOnlyWhereItIsAllowed) {
  BackendOptions options;
  options.engine = *parse_engine({{"plugin", ISOBIT_FAKE_PLUGIN}});
  const Mode& mode = mode_of(Precision::fp32);
  EXPECT_NE(unsupported_reason(options, mode).find("--allow-external"), std::string::npos);
  EXPECT_FALSE(make_backend(options, mode));
  const Allowed allowed;
  EXPECT_EQ(unsupported_reason(options, mode), "");
  EXPECT_TRUE(make_backend(options, mode));
  options.device = "tpu";
  EXPECT_NE(unsupported_reason(options, mode), "");
}

TEST(PluginEngine, ItIsExecutedEveryTime) {
  const EngineEntry* row = find_engine("plugin");
  ASSERT_NE(row, nullptr);
  EXPECT_TRUE(row->external);
  EXPECT_FALSE(row->cacheable || row->deterministic);
  EXPECT_EQ(row->status().front().state, "ready");
}

}  // namespace
}  // namespace isobit
