// Fuzzes the small JSON records: no crash, and what was read is the same when it is printed and
// read again.
//
// The first line says which: environment, manifest, or what the database keeps as text: observed,
// difference, texts.
#include "harness/environment/environment.h"
#include "harness/models/files.h"
#include "harness/store/impl.h"
#include "tests/fuzz/input.h"

namespace isobit {
namespace {

void fuzz_environment(const std::string& text) {
  const auto read = Environment::from_json(text, "env.json");
  if (!fuzz::accepted(read)) return;
  const auto again = Environment::from_json(read->to_json(), "env.json");
  ISOBIT_CHECK(again && diff(*read, *again).empty() && read->entries == again->entries);
}

void fuzz_manifest(const std::string& text) {
  const auto manifest = models::parse_manifest(text, "m.json", "m");
  if (!fuzz::accepted(manifest)) return;
  ISOBIT_CHECK(manifest->name == "m");
  for (const auto& [file, digest] : manifest->sha256) {
    ISOBIT_CHECK(!file.empty() && file[0] != '/' && file.rfind("..", 0) != 0);
    ISOBIT_CHECK(digest.size() == 64);
  }
}

/// REQUIRES: print(parse(print(x))) == print(x) for every x that parse can give.
template <class Parse, class Print>
void fuzz_stored(const std::string& text, const Parse& parse, const Print& print) {
  const std::string printed = print(parse(text));
  ISOBIT_CHECK(print(parse(printed)) == printed);
}

}  // namespace
}  // namespace isobit

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace isobit;
  const std::string input = fuzz::text_of(data, size);
  std::string_view rest = input;
  const std::string kind = fuzz::take_part(rest, '\n');
  const std::string text(rest);
  if (kind == "environment") fuzz_environment(text);
  if (kind == "manifest") fuzz_manifest(text);
  if (kind == "observed") fuzz_stored(text, parse_observed, print_observed);
  if (kind == "difference") fuzz_stored(text, parse_difference, print_difference);
  if (kind == "texts") fuzz_stored(text, parse_texts, print_texts);
  return 0;
}
