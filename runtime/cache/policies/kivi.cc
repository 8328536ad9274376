// kivi: n bits per code, groups of 32, residual 32. Keys are coded per channel in groups of 32
// tokens, values per token; the query that completes a group still sees it exact. With `when:
// block` there is no residual: values are coded with the group of their position, as keys are.

#include <algorithm>

#include "runtime/cache/policies/groups.h"
#include "runtime/cache/policies/table.h"
#include "runtime/numerics/kv/codecs.h"

namespace isobit {
namespace {

constexpr std::int64_t kGroup = 32, kResidual = 32;

class KiviPolicy final : public CachePolicy {
 public:
  KiviPolicy(int bits, bool blocks) : bits_(bits), blocks_(blocks) {}
  [[nodiscard]] Result<void> check(const KvModel& model) const override {
    if (model.head_dim % kGroup == 0) return {};
    return Error{"a group of 32 channels stays inside one head, and head_dim " +
                     std::to_string(model.head_dim) + " is no multiple of 32",
                 ""};
  }
  [[nodiscard]] bool waits_for_prompt() const override { return !blocks_; }
  [[nodiscard]] bool acts(const KvModel&, std::int64_t n, std::int64_t q) const override {
    return coded(n, q) != CodedView{};
  }
  [[nodiscard]] KvCodec key_codec(const KvModel& model) const override {
    const KvCodecKind kind = bits_ == 2 ? KvCodecKind::kivi2_tokens : KvCodecKind::kivi4_tokens;
    return make_codec(kind, model.stored);
  }
  [[nodiscard]] KvCodec value_codec(const KvModel& model) const override {
    const KvCodecKind kind = bits_ == 2 ? KvCodecKind::kivi2_channels : KvCodecKind::kivi4_channels;
    return make_codec(kind, model.stored);
  }
  [[nodiscard]] CodedView coded(std::int64_t n, std::int64_t q) const override {
    const std::int64_t groups = coded_groups(q, kGroup);
    if (blocks_) return {groups, groups};
    if (q < n) return {};
    return {groups, std::max<std::int64_t>(0, q - kResidual)};
  }

 private:
  int bits_;
  bool blocks_;
};

}  // namespace

PolicyResult parse_kivi(const OptionArgs& args) {
  if (args.main != "2" && args.main != "4") return Error{"kivi has 2 or 4 bits", ""};
  auto blocks = read_blocks(args, kGroup);
  ISOBIT_TRY(blocks);
  MadePolicy made;
  made.policy = std::make_shared<KiviPolicy>(args.main == "2" ? 2 : 4, *blocks);
  made.name = "kivi";
  made.main = args.main;
  if (*blocks) made.options["when"] = "block";
  return made;
}

}  // namespace isobit
