// Axis decode: how a token is chosen from a row of logits (runtime/model/sampler.h). Draws are
// coupled: one seed, prompt and position give one number in every cell, so that cells that share
// bits draw the same tokens. Never lossless: each value makes another text.
#include "harness/axes/axes.h"
#include "harness/axes/parse.h"
#include "runtime/base/option_text.h"
#include "runtime/base/words.h"

namespace isobit {
namespace {

constexpr std::int64_t kMostKept = 1 << 30;
constexpr double kLargestTemperature = 1000;

const axes::Words kWords = {"greedy", "sample", "seed", "temperature", "top_k", "top_p"};

/// "temperature: a number from 1e-30 to 1000" as an error.
Error bad_option(const std::string& key, const std::string& text, const std::string& wanted) {
  return {"decode, option " + key + ": " + in_quotes(text) + " is not " + wanted, ""};
}

Result<void> read_temperature(const std::string& text, double& out) {
  if (parse_real(text, out) && out >= kLeastTemperature && out <= kLargestTemperature) return {};
  return bad_option("temperature", text,
                    "a number from 1e-30 to 1000; without randomness decode is greedy");
}

Result<void> read_top_p(const std::string& text, double& out) {
  if (parse_real(text, out) && out > 0 && out <= 1) return {};
  return bad_option("top_p", text, "a number above 0, up to 1");
}

Result<void> read_whole(const std::string& key, const std::string& text, std::int64_t most,
                        std::int64_t& out) {
  if (parse_integer(text, 0, most, out)) return {};
  return bad_option(key, text, "a whole number from 0 to " + std::to_string(most));
}

Result<void> read_option(const std::string& key, const std::string& text, SamplerOptions& out) {
  if (key == "temperature") return read_temperature(text, out.temperature);
  if (key == "top_p") return read_top_p(text, out.top_p);
  if (key == "top_k") return read_whole(key, text, kMostKept, out.top_k);
  if (key == "seed") {
    std::int64_t seed = 0;
    auto ok = read_whole(key, text, INT64_MAX, seed);
    out.seed = std::uint64_t(seed);
    return ok;
  }
  if (key == "greedy" || key == "sample") {
    return axes::bad_value("decode", key, "; it stands alone");
  }
  return axes::bad_value("decode", key, did_you_mean(key, kWords));
}

Result<AxisValue> parse(const RawValue& raw, ValueUse use) {
  SamplerOptions options;
  if (!axes::is_map(raw)) {
    if (raw.scalar == "greedy") return decode_value(options);
    options.temperature = 1;
    if (raw.scalar == "sample") return decode_value(options);
    if (!axes::is_one_of(raw.scalar, kWords)) {
      return axes::bad_value("decode", raw.scalar, did_you_mean(raw.scalar, kWords));
    }
    if (use == ValueUse::pattern) return axes::scalar_value(raw.scalar, {});
    return axes::bad_value("decode", raw.scalar,
                           "; it needs a number, e.g. {" + raw.scalar + ": " +
                               (raw.scalar == "top_k" ? "50}" : "0.9}"));
  }
  options.temperature = 1;
  RawValue plain = raw;
  for (auto& [key, value] : plain.pairs) std::erase(value, '+');  // "1e+2": a plus joins pairs
  const auto read =
      axes::options_of("decode", plain, "", [&](const std::string& key, const std::string& text) {
        return read_option(key, text, options);
      });
  ISOBIT_TRY(read);
  return decode_value(options);
}

void apply(const AxisValue& value, GenerateRequest& request) {
  request.sampler = std::get<SamplerOptions>(value.setting);
}

}  // namespace

AxisValue decode_value(const SamplerOptions& options) {
  const std::string text = text_of(options);
  if (text.find(':') == std::string::npos) return axes::scalar_value(text, options);
  const std::map<std::string, std::string> args = axes::args_of(text);
  return axes::map_value(args, args.begin()->first, options);
}

Axis decode_axis() {
  Axis axis{"decode",
            "greedy",
            "greedy | sample | {top_k: n, top_p: p, temperature: t, seed: s}, one or several of "
            "them",
            AxisKind::decoding,
            false,
            kWords,
            parse,
            axes::never,
            apply};
  axis.own_lines = true;
  return axis;
}

}  // namespace isobit
