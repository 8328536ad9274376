// kvarn: tiles of a group of tokens, turned by the Hadamard matrix, balanced along both axes and
// rounded to nearest (arXiv 2606.03458, the paper's form). The first tokens stay exact, and so does
// a group until the query after the one that completes it.

#include "runtime/cache/policies/groups.h"
#include "runtime/cache/policies/table.h"
#include "runtime/numerics/kv/codecs.h"

namespace isobit {
namespace {

constexpr std::int64_t kUsualGroup = 128, kUsualSink = 128, kUsualIterations = 8;
constexpr std::int64_t kLeastGroup = 32, kMostGroup = 256, kMostSink = 1 << 20;
constexpr std::int64_t kLeastHead = 8, kMostHead = 256, kMostIterations = 64;

struct KvarnOptions {
  std::string bits;  // "k4v2"
  std::int32_t k_bits = 0, v_bits = 0;
  std::int64_t group = kUsualGroup, sink = kUsualSink, iterations = kUsualIterations;
};

class KvarnPolicy final : public CachePolicy {
 public:
  explicit KvarnPolicy(KvarnOptions options) : o_(std::move(options)) {}
  [[nodiscard]] Result<void> check(const KvModel& model) const override {
    const std::int64_t d = model.head_dim;
    if (is_power_of_two(d) && d >= kLeastHead && d <= kMostHead) return {};
    return Error{"kvarn turns a whole head, a power of two from 8 to 256 channels, and head_dim " +
                     std::to_string(d) + " is none",
                 ""};
  }
  [[nodiscard]] bool acts(const KvModel&, std::int64_t n, std::int64_t q) const override {
    return coded(n, q) != CodedView{};
  }
  [[nodiscard]] KvCodec key_codec(const KvModel& model) const override {
    return Kvarn<true>::make(model.stored, int(o_.group), int(model.head_dim), o_.k_bits,
                             int(o_.iterations));
  }
  [[nodiscard]] KvCodec value_codec(const KvModel& model) const override {
    return Kvarn<false>::make(model.stored, int(o_.group), int(model.head_dim), o_.v_bits,
                              int(o_.iterations));
  }
  [[nodiscard]] KvRotation rotation(const KvModel& model) const override {
    return {std::int32_t(model.head_dim), std::int32_t(model.head_dim)};
  }
  [[nodiscard]] std::int64_t coded_from() const override { return o_.sink; }
  [[nodiscard]] CodedView coded(std::int64_t n, std::int64_t q) const override {
    if (q < n) return {};
    const std::int64_t end = coded_groups(q, o_.group);
    return end > o_.sink ? CodedView{end, end} : CodedView{};
  }

 private:
  KvarnOptions o_;
};

Result<KvarnOptions> read_options(const OptionArgs& args) {
  KvarnOptions out;
  out.bits = args.main;
  out.k_bits = args.main[1] - '0';
  out.v_bits = args.main[3] - '0';
  auto group = args.whole("group", kLeastGroup, kMostGroup, kUsualGroup);
  ISOBIT_TRY(group);
  auto sink = args.whole("sink", 0, kMostSink, kUsualSink);
  ISOBIT_TRY(sink);
  auto iterations = args.whole("iterations", 0, kMostIterations, kUsualIterations);
  ISOBIT_TRY(iterations);
  if (!is_power_of_two(*group)) {
    return Error{"group of kvarn is a power of two from 32 to 256, not " + std::to_string(*group),
                 ""};
  }
  if (*sink % *group != 0) {
    return Error{"sink of kvarn is whole groups of " + std::to_string(*group) + " tokens, not " +
                     std::to_string(*sink),
                 ""};
  }
  out.group = *group;
  out.sink = *sink;
  out.iterations = *iterations;
  return out;
}

}  // namespace

PolicyResult parse_kvarn(const OptionArgs& args) {
  if (args.main != "k4v2" && args.main != "k4v4" && args.main != "k2v2") {
    return Error{"kvarn is k4v2, k4v4 or k2v2, not " + in_quotes(args.main), ""};
  }
  auto form = args.word("form", {"paper", "shipped"}, "paper");
  ISOBIT_TRY(form);
  if (*form == "shipped") return parse_kvarn_shipped(args);
  auto options = read_options(args);
  ISOBIT_TRY(options);
  MadePolicy made;
  made.policy = std::make_shared<KvarnPolicy>(*options);
  made.name = "kvarn";
  made.main = options->bits;
  const auto unusual = [&](const char* name, std::int64_t value, std::int64_t usual) {
    if (value != usual) made.options[name] = std::to_string(value);
  };
  unusual("group", options->group, kUsualGroup);
  unusual("sink", options->sink, kUsualSink);
  unusual("iterations", options->iterations, kUsualIterations);
  return made;
}

}  // namespace isobit
