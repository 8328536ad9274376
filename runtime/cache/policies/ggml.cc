// ggml's block types as cache types: K and V as blocks of 32 channels from the write on. Pointwise,
// so that everyone sees a position coded and no exact copy of it exists.

#include "runtime/base/words.h"
#include "runtime/cache/policies/table.h"
#include "runtime/numerics/kv/codecs.h"

namespace isobit {
namespace {

struct BlockType {
  const char* name;
  KvCodecKind kind;
};
constexpr BlockType kTypes[] = {{"q8_0", KvCodecKind::q8_0}, {"q4_0", KvCodecKind::q4_0},
                                {"q4_1", KvCodecKind::q4_1}, {"q5_0", KvCodecKind::q5_0},
                                {"q5_1", KvCodecKind::q5_1}, {"iq4_nl", KvCodecKind::iq4_nl}};

const BlockType* type_named(const std::string& name) {
  for (const BlockType& type : kTypes) {
    if (name == type.name) return &type;
  }
  return nullptr;
}

/// ggml's rotation of a side (llama.cpp, build_input_k_rot, build_input_v_rot): of K as many
/// channels as the largest power of two that divides head_dim, of V always 64.
KvRotation rotation_of(std::int64_t head_dim) {
  return {std::int32_t(head_dim & -head_dim), 64};
}

class GgmlPolicy final : public CachePolicy {
 public:
  GgmlPolicy(const BlockType& k, const BlockType& v, bool rotates)
      : k_(k), v_(v), rotates_(rotates) {}
  [[nodiscard]] Result<void> check(const KvModel& model) const override {
    const std::string head_dim = "head_dim " + std::to_string(model.head_dim);
    if (model.head_dim % 32 != 0) {
      return Error{
          "a block of 32 channels stays inside one head, and " + head_dim + " is no multiple of 32",
          ""};
    }
    if (rotates_ && model.head_dim % 64 != 0) {
      return Error{"ggml rotates 64 channels or more, and " + head_dim + " is no multiple of 64",
                   ""};
    }
    return {};
  }
  [[nodiscard]] bool waits_for_prompt() const override { return false; }
  [[nodiscard]] bool acts(const KvModel&, std::int64_t, std::int64_t) const override {
    return true;
  }
  [[nodiscard]] KvCodec key_codec(const KvModel& model) const override {
    return make_codec(k_.kind, model.stored);
  }
  [[nodiscard]] KvCodec value_codec(const KvModel& model) const override {
    return make_codec(v_.kind, model.stored);
  }
  [[nodiscard]] KvRotation rotation(const KvModel& model) const override {
    return rotates_ ? rotation_of(model.head_dim) : KvRotation{};
  }
  [[nodiscard]] CodedView coded(std::int64_t, std::int64_t) const override {
    return {CodedView::kAll, CodedView::kAll};
  }

 private:
  const BlockType &k_, &v_;
  bool rotates_;
};

Result<const BlockType*> read_type(const std::string& text) {
  if (const BlockType* type = type_named(text)) return type;
  std::vector<std::string> known;
  for (const BlockType& type : kTypes) known.emplace_back(type.name);
  return Error{"no block type " + in_quotes(text) + among_known(text, known), ""};
}

/// The types of K and V in "q8_0" or "(k:q8_0+v:q4_0)".
Result<std::pair<const BlockType*, const BlockType*>> read_types(const std::string& main) {
  const BlockType *k = nullptr, *v = nullptr;
  if (main.find(':') == std::string::npos) {
    auto both = read_type(main);
    ISOBIT_TRY(both);
    return std::pair{*both, *both};
  }
  for (const auto& [side, text] : option_pairs(without_parentheses(main))) {
    if (side != "k" && side != "v")
      return Error{"ggml has sides k and v, not " + in_quotes(side), ""};
    const BlockType*& at = side == "k" ? k : v;
    if (at != nullptr) return Error{"side " + side + " is given twice", ""};
    auto type = read_type(text);
    ISOBIT_TRY(type);
    at = *type;
  }
  if (k == nullptr || v == nullptr) return Error{"ggml needs both sides, {k: q8_0, v: q4_0}", ""};
  return std::pair{k, v};
}

}  // namespace

PolicyResult parse_ggml(const OptionArgs& args) {
  const bool word = args.name != "ggml";
  if (word && !args.main.empty()) return Error{args.name + " has no parameter", ""};
  auto types = read_types(word ? args.name : args.main);
  ISOBIT_TRY(types);
  auto rotates = args.flag("rotate", false);
  ISOBIT_TRY(rotates);
  const auto [k, v] = *types;
  MadePolicy made;
  made.policy = std::make_shared<GgmlPolicy>(*k, *v, *rotates);
  if (*rotates) made.options["rotate"] = "true";
  if (k == v) {
    made.name = k->name;
  } else {
    made.name = "ggml";
    made.main = std::string("(k:") + k->name + "+v:" + v->name + ")";
  }
  return made;
}

}  // namespace isobit
