// q8_0: K and V as ggml's 8-bit blocks from the write on. Pointwise, so that everyone sees a
// position coded and no exact copy of it exists.

#include "runtime/cache/policies/table.h"

namespace isobit {
namespace {

class Q8Policy final : public CachePolicy {
 public:
  [[nodiscard]] Result<void> check(const KvModel& model) const override {
    if (model.head_dim % 32 == 0) return {};
    return Error{"a block of 32 channels stays inside one head, and head_dim " +
                     std::to_string(model.head_dim) + " is no multiple of 32",
                 ""};
  }
  [[nodiscard]] bool waits_for_prompt() const override { return false; }
  [[nodiscard]] KvCodecKind key_codec() const override { return KvCodecKind::q8_0; }
  [[nodiscard]] KvCodecKind value_codec() const override { return KvCodecKind::q8_0; }
  [[nodiscard]] CodedView coded(std::int64_t, std::int64_t) const override {
    return {CodedView::kAll, CodedView::kAll};
  }
};

}  // namespace

PolicyResult parse_q8_0(const std::string& argument) {
  if (!argument.empty()) return Error{"q8_0 has no parameter", ""};
  return PolicyResult(std::make_shared<Q8Policy>());
}

}  // namespace isobit
