// Texts of flash schedules.

#include "runtime/numerics/flash_text.h"

#include <algorithm>
#include <bit>

#include "runtime/base/option_text.h"
#include "runtime/base/words.h"
#include "runtime/numerics/attention_book.h"
#include "runtime/numerics/flash.h"

namespace isobit {
namespace {

constexpr std::int64_t kSmallestBlock = 16;
constexpr double kLeastBeta = 1, kMostBeta = 64;
constexpr double kPaperBeta = 7, kRepositoryBeta = 2;

const std::vector<std::string> kOptions = {"flash", "splits", "p", "stabilise"};
const std::vector<std::string> kFormats = {"fp32", "bf16", "fp16"};
const std::vector<std::string> kForms = {"paper", "repository"};

/// Pairs of known names, each once.
Result<OptionArgs> options_of(const std::string& of, const std::string& text,
                              const std::vector<std::string>& known) {
  OptionArgs args{of, "", {}};
  for (const auto& [key, value] : option_pairs(text)) {
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      return Error{"unknown option " + in_quotes(key) + " of " + of + did_you_mean(key, known), ""};
    }
    if (!args.options.emplace(key, value).second) {
      return Error{"option " + in_quotes(key) + " of " + of + " is given twice", ""};
    }
  }
  return args;
}

Result<void> read_splits(const OptionArgs& args, FlashSchedule& schedule) {
  const auto given = args.options.find("splits");
  schedule.by_length = given != args.options.end() && given->second == "by_length";
  if (schedule.by_length) return {};
  auto splits = args.whole("splits", 1, kMostFlashSplits, 1);
  if (!splits) return Error{splits.error().message + ", or by_length", ""};
  schedule.splits = std::int32_t(*splits);
  return {};
}

/// "(beta:7+form:paper)".
Result<void> read_mitigation(const std::string& text, FlashSchedule& schedule) {
  auto args = options_of("stabilise", without_parentheses(text), {"beta", "form"});
  ISOBIT_TRY(args);
  auto form = args->word("form", kForms, kForms[0]);
  ISOBIT_TRY(form);
  schedule.loose = *form == "repository";
  schedule.beta = schedule.loose ? kRepositoryBeta : kPaperBeta;
  const auto given = args->options.find("beta");
  if (given == args->options.end()) return {};
  double beta = 0;
  if (!parse_real(given->second, beta)) {
    return Error{"option beta of stabilise is a number, not " + in_quotes(given->second), ""};
  }
  const std::string asked = "option beta of stabilise is from 1 to 64, not " + given->second;
  if (beta < kLeastBeta) {
    return Error{asked + ": below 1 the maximum falls under the scores, and P rises above 1", ""};
  }
  if (beta > kMostBeta) {
    return Error{
        asked + ": exp(score - beta * maximum) becomes 0, and so does what P V is divided by", ""};
  }
  schedule.beta = beta;
  return {};
}

}  // namespace

std::string text_of(const FlashSchedule& schedule) {
  if (schedule.is_fused()) return "fused:" + text_of(schedule.fused);
  if (!schedule.emulated()) return FlashSchedule{}.text;
  std::string text = "flash:" + std::to_string(schedule.block);
  if (schedule.p != Format::f32) text += schedule.p == Format::bf16 ? "+p:bf16" : "+p:fp16";
  if (schedule.by_length) {
    text += "+splits:by_length";
  } else if (schedule.splits != 1) {
    text += "+splits:" + std::to_string(schedule.splits);
  }
  if (schedule.beta == 0.0) return text;
  text += "+stabilise:(beta:" + shortest_decimals(schedule.beta);
  return text + (schedule.loose ? "+form:repository)" : ")");
}

FlashSchedule without_splits(FlashSchedule schedule) {
  schedule.splits = 1;
  schedule.by_length = false;
  return schedule;
}
FlashSchedule without_mitigation(FlashSchedule schedule) {
  schedule.beta = 0;
  return schedule;
}

Result<FlashSchedule> parse_flash(const std::string& text) {
  constexpr std::string_view kFused = "fused:";
  if (text.starts_with(kFused)) {
    auto choice = parse_fused_choice(text.substr(kFused.size()));
    ISOBIT_TRY(choice);
    FlashSchedule schedule;
    schedule.fused = *choice;
    schedule.text = text_of(schedule);
    return schedule;
  }
  auto args = options_of("attention", text, kOptions);
  ISOBIT_TRY(args);
  if (args->options.count("flash") == 0) return Error{"attention needs flash: keys of a block", ""};
  FlashSchedule schedule;
  auto block = args->whole("flash", kSmallestBlock, kLargestFlashBlock, 64);
  if (!block || !std::has_single_bit(std::uint64_t(*block))) {
    return Error{"option flash of attention is a power of two from 16 to 256, not " +
                     in_quotes(args->options.at("flash")),
                 ""};
  }
  schedule.block = std::int32_t(*block);
  if (auto ok = read_splits(*args, schedule); !ok) return ok.error();
  auto p = args->word("p", kFormats, kFormats[0]);
  ISOBIT_TRY(p);
  schedule.p = *p == "bf16" ? Format::bf16 : *p == "fp16" ? Format::fp16 : Format::f32;
  const auto mitigation = args->options.find("stabilise");
  if (mitigation != args->options.end()) {
    if (auto ok = read_mitigation(mitigation->second, schedule); !ok) return ok.error();
  }
  schedule.text = text_of(schedule);
  return schedule;
}

std::string joined_flash(const std::string& a, const std::string& b) {
  auto one = parse_flash(a), other = parse_flash(b);
  if (a == b || !other) return a;  // "reference": no row was there
  if (!one) return b;
  if (one->splits == 1 && !one->by_length) {
    one->splits = other->splits;
    one->by_length = other->by_length;
  }
  if (one->beta == 0) {
    one->beta = other->beta;
    one->loose = other->loose;
  }
  return text_of(*one);
}

}  // namespace isobit
