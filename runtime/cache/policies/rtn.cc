// rtn: round to nearest, n bits per code. Per token it is pointwise: groups of channels, coded at
// the write. Per channel a group of tokens is coded once it is full; the query that completes it
// still sees it exact.

#include "runtime/cache/policies/groups.h"
#include "runtime/cache/policies/table.h"
#include "runtime/numerics/kv/codecs.h"

namespace isobit {
namespace {

constexpr std::int64_t kUsualGroup = 32, kLeastTokens = 8, kMostTokens = 256, kMostChannels = 4096;
constexpr std::int64_t kMostTurned = 256;  // channels

struct RtnOptions {
  std::int32_t bits = 4, group = kUsualGroup;
  bool per_channel = false, turns = false, blocks = false;
};

class RtnPolicy final : public CachePolicy {
 public:
  explicit RtnPolicy(const RtnOptions& options) : o_(options) {}
  [[nodiscard]] Result<void> check(const KvModel& model) const override {
    const std::string head_dim = "head_dim " + std::to_string(model.head_dim);
    if (!o_.per_channel && model.head_dim % o_.group != 0) {
      return Error{"a group of " + std::to_string(o_.group) +
                       " channels stays inside one head, and " + head_dim + " is no multiple of it",
                   ""};
    }
    if (o_.turns && (!is_power_of_two(model.head_dim) || model.head_dim > kMostTurned)) {
      return Error{
          "rotate: hadamard turns a whole head, a power of two of up to 256 channels, and " +
              head_dim + " is none",
          ""};
    }
    return {};
  }
  [[nodiscard]] bool waits_for_prompt() const override { return o_.per_channel && !o_.blocks; }
  [[nodiscard]] bool acts(const KvModel&, std::int64_t n, std::int64_t q) const override {
    return coded(n, q) != CodedView{} || (o_.turns && o_.blocks);
  }
  [[nodiscard]] KvCodec key_codec(const KvModel& model) const override {
    if (o_.per_channel) return Rtn<true>::make(model.stored, o_.group, o_.bits);
    return Rtn<false>::make(model.stored, o_.group, o_.bits);
  }
  [[nodiscard]] KvCodec value_codec(const KvModel& model) const override {
    return key_codec(model);
  }
  [[nodiscard]] KvRotation rotation(const KvModel& model) const override {
    if (!o_.turns) return {};
    return {std::int32_t(model.head_dim), std::int32_t(model.head_dim)};
  }
  [[nodiscard]] CodedView coded(std::int64_t n, std::int64_t q) const override {
    if (!o_.per_channel) return {CodedView::kAll, CodedView::kAll};
    if (q < n && !o_.blocks) return {};
    return {coded_groups(q, o_.group), coded_groups(q, o_.group)};
  }

 private:
  RtnOptions o_;
};

Result<RtnOptions> read_options(const OptionArgs& args) {
  RtnOptions out;
  if (args.main.empty()) return Error{"rtn needs its bits, {rtn: 4}", ""};
  auto bits = args.whole("", 1, 8, out.bits);
  ISOBIT_TRY(bits);
  auto per = args.word("per", {"token", "channel"}, "token");
  ISOBIT_TRY(per);
  auto group = args.whole("group", 2, kMostChannels, kUsualGroup);
  ISOBIT_TRY(group);
  auto rotate = args.word("rotate", {"none", "hadamard"}, "none");
  ISOBIT_TRY(rotate);
  out.bits = std::int32_t(*bits);
  out.group = std::int32_t(*group);
  out.per_channel = *per == "channel";
  out.turns = *rotate == "hadamard";
  const bool fits = is_power_of_two(*group) && *group >= kLeastTokens && *group <= kMostTokens;
  if (out.per_channel && !fits) {
    return Error{"a group of tokens is a power of two from 8 to 256, not " + std::to_string(*group),
                 ""};
  }
  auto blocks = read_blocks(args, *group);
  ISOBIT_TRY(blocks);
  if (!out.per_channel && args.options.count("when") != 0) {
    return Error{"option when is for per: channel; per token every value is coded at the write",
                 ""};
  }
  out.blocks = *blocks;
  return out;
}

}  // namespace

PolicyResult parse_rtn(const OptionArgs& args) {
  auto options = read_options(args);
  ISOBIT_TRY(options);
  MadePolicy made;
  made.policy = std::make_shared<RtnPolicy>(*options);
  made.name = "rtn";
  made.main = std::to_string(options->bits);
  if (options->per_channel) made.options["per"] = "channel";
  if (options->group != kUsualGroup) made.options["group"] = std::to_string(options->group);
  if (options->turns) made.options["rotate"] = "hadamard";
  if (options->blocks) made.options["when"] = "block";
  return made;
}

}  // namespace isobit
