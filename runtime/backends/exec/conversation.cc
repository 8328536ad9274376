// Requests out, rows in.
#include "runtime/backends/exec/conversation.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "runtime/numerics/digest.h"
#include "runtime/numerics/evidence.h"
#include "runtime/run/log_sum.h"
#include "runtime/run/record_row.h"
#include "runtime/run/trace_recorder.h"

namespace isobit::exec {
namespace {

using Clock = std::chrono::steady_clock;

/// One cell while its requests are open.
class Conversation {
 public:
  Conversation(const GenerateRequest& request, const Hello& hello, std::int64_t vocabulary,
               std::int64_t& next_id, Child& child, GenerateResult& result)
      : request_(request),
        hello_(hello),
        vocabulary_(vocabulary),
        id_(next_id),
        child_(child),
        result_(result) {
    result_.trace.prompts.resize(request.prompts.size());
    for (std::size_t p = 0; p < request.prompts.size(); ++p) {
      PromptTrace& prompt = result_.trace.prompts[p];
      prompt.prompt_tokens = std::int64_t(request.prompts[p].tokens.size());
      prompt.tokens_digest = tokens_digest(request.prompts[p].tokens);
    }
    // Prompts repeat until they fill a batch, as the reference's do.
    const std::size_t count = std::max(request.prompts.size(), std::size_t(request.batch.size));
    queue_ = joining_order(count, request.batch.order);
  }

  Told run() {
    Told told;
    while (!told.failure && (next_ < queue_.size() || !open_.empty())) {
      while (may_send()) send();
      told.failure = receive();
    }
    told.ran = std::move(ran_);
    told.out_of_order = out_of_order_;
    told.record_seconds = record_seconds_;
    return told;
  }

 private:
  /// A sequence of an open request.
  struct Place {
    int prompt = 0;
    std::int64_t expected = 0;  // position of its next row
    std::vector<TokenRecord> tokens;
    bool first_of_prompt = false;  // its rows are the prompt's; others must equal them
  };
  struct Open {
    std::vector<Place> places;
    bool answered = false;  // some row came
  };

  [[nodiscard]] bool may_send() const {
    if (next_ >= queue_.size()) return false;
    if (!hello_.concurrent) return open_.empty();
    const bool waits = request_.batch.staggered &&
                       std::any_of(open_.begin(), open_.end(),
                                   [](const auto& one) { return !one.second.answered; });
    return !waits && std::int64_t(open_.size()) < request_.batch.size;
  }

  void send() {
    Request out;
    out.id = id_++;
    out.max_new_tokens = request_.max_new_tokens;
    out.eos = request_.eos;
    out.cache = request_.cache.name;
    out.kv = request_.kv.text;
    out.threads = request_.backend.threads;
    out.batch = request_.batch.size;
    if (request_.sampler.temperature != 0.0) out.sampling = request_.sampler;
    Open& open = open_[out.id];
    const std::size_t size = hello_.concurrent ? 1 : std::size_t(request_.batch.size);
    for (; out.sequences.size() < size && next_ < queue_.size(); ++next_) {
      const int place = queue_[next_];
      if (next_ > 0 && place < queue_[next_ - 1]) ++out_of_order_;
      const int prompt = place % int(request_.prompts.size());
      const PromptTokens& tokens = request_.prompts[std::size_t(prompt)];
      out.sequences.push_back({tokens.tokens, tokens.teacher});
      open.places.push_back({prompt,
                             std::int64_t(tokens.tokens.size()) - 1,
                             {},
                             place < int(request_.prompts.size())});
    }
    child_.send(print(out));
  }

  std::optional<Failure> receive() {
    const auto line = child_.line(Child::kNoLimit);
    if (!line) return Failure{CellStatus::crashed, line.error().message, true};
    auto reply = parse_reply(*line);
    if (!reply) return broken(reply.error().message);
    if (reply->kind == Reply::Kind::row) return take(reply->row);
    if (reply->kind == Reply::Kind::error) {
      const bool only = open_.size() == 1 && open_.begin()->first == reply->id;
      return Failure{CellStatus::failed, reply->message, !only};  // others would still answer
    }
    const auto at = open_.find(reply->id);
    if (reply->kind != Reply::Kind::done || at == open_.end()) {
      return broken("it answered to something that was not asked");
    }
    for (Place& place : at->second.places) {
      if (place.tokens.empty())
        return broken(name_of_prompt(request_, std::size_t(place.prompt)) + " has no row");
      keep(std::move(place));
    }
    open_.erase(at);
    add(reply->ran);
    return std::nullopt;
  }

  static Failure broken(const std::string& why) { return {CellStatus::failed, why, true}; }

  [[nodiscard]] std::string place_of(const Place& place) const {
    return name_of_prompt(request_, std::size_t(place.prompt)) + ", position " +
           std::to_string(place.expected);
  }

  std::optional<Failure> take(const Row& row) {
    const auto at = open_.find(row.id);
    if (at == open_.end() || row.sequence >= std::int64_t(at->second.places.size())) {
      return broken("it sent a row of request " + std::to_string(row.id) + ", sequence " +
                    std::to_string(row.sequence) + ", which is not open");
    }
    at->second.answered = true;
    Place& place = at->second.places[std::size_t(row.sequence)];
    const PromptTokens& prompt = request_.prompts[std::size_t(place.prompt)];
    if (row.position != place.expected) {
      return broken(place_of(place) + ": a row of position " + std::to_string(row.position) +
                    " came instead");
    }
    const std::size_t index = place.tokens.size();
    const std::size_t most =
        prompt.teacher.empty() ? std::size_t(request_.max_new_tokens) : prompt.teacher.size();
    if (index >= most) return broken(place_of(place) + ": more rows than were asked for");
    const auto ends = [this](std::int32_t id) {
      return std::find(request_.eos.begin(), request_.eos.end(), id) != request_.eos.end();
    };
    if (index > 0 && prompt.teacher.empty() && ends(place.tokens.back().id)) {
      return broken(place_of(place) + ": a row behind the end of its sequence");
    }
    if (!prompt.teacher.empty() && !row.fed) {
      return broken(place_of(place) + ": no `fed`, which a row of a taught sequence needs");
    }
    if (row.token >= vocabulary_) {
      return broken(place_of(place) + ": token " + std::to_string(row.token) +
                    " is outside the vocabulary of " + std::to_string(vocabulary_));
    }
    TokenRecord token;
    token.position = row.position;
    token.id = row.token;
    token.fed = row.fed.value_or(row.token);
    if (auto failure = read_evidence(row, place, token)) return failure;
    place.tokens.push_back(token);
    ++place.expected;
    return std::nullopt;
  }

  std::optional<Failure> read_evidence(const Row& row, const Place& place, TokenRecord& token) {
    if (hello_.evidence == Evidence::logits) return read_logits(row, place, token);
    if (row.bytes) return broken(place_of(place) + ": a row of logits, which it does not give");
    if (hello_.evidence == Evidence::tokens) {
      token.digest = digest_token(row.token);
      return std::nullopt;
    }
    if (!row.logprob) return broken(place_of(place) + ": no log-probability");
    token.digest = digest_logprobs(row.token, *row.logprob, row.top);
    std::vector<std::pair<std::int32_t, double>> best = row.top;
    std::stable_sort(best.begin(), best.end(), [](const auto& a, const auto& b) {
      return a.second != b.second ? a.second > b.second : a.first < b.first;
    });
    for (const auto& [id, value] : best) {
      if (token.top_count == kTopK) break;
      token.top_ids[std::size_t(token.top_count)] = id;
      token.top_logits[std::size_t(token.top_count++)] = float(value);
    }
    if (token.top_count >= 2) token.margin = token.top_logits[0] - token.top_logits[1];
    return std::nullopt;
  }

  std::optional<Failure> read_logits(const Row& row, const Place& place, TokenRecord& token) {
    const std::int64_t wanted = vocabulary_ * std::int64_t(sizeof(float));
    if (!row.bytes || *row.bytes != wanted) {
      return broken(place_of(place) + ": a row of " +
                    (row.bytes ? std::to_string(*row.bytes) : "no") + " bytes; " +
                    std::to_string(vocabulary_) + " logits have " + std::to_string(wanted));
    }
    values_.resize(std::size_t(vocabulary_));
    const std::span<std::byte> bytes = std::as_writable_bytes(std::span(values_));
    if (auto ok = child_.bytes(bytes, Child::kNoLimit); !ok) {
      return Failure{CellStatus::crashed, ok.error().message, true};
    }
    const Clock::time_point start = Clock::now();
    TopEntries top;
    for (std::size_t i = 0; i < values_.size(); ++i) {
      top.offer(std::int32_t(i), double(values_[i]), kTopK);
    }
    token.digest = digest_row(std::span<const float>(values_));
    token.non_finite = top.non_finite;
    keep_top(top, token);
    if (request_.log_sums) token.log_sum = row_log_sum(bytes, false);
    if (request_.fed_logits) token.fed_logit = row_logit(bytes, false, token.fed);
    if (place.first_of_prompt) give_row(place.prompt, token.position, bytes);
    record_seconds_ += std::chrono::duration<double>(Clock::now() - start).count();
    if (token.non_finite) {
      return Failure{CellStatus::non_finite, place_of(place) + ": non-finite logit", true};
    }
    if (request_.sampler.temperature == 0.0 && token.id != top.ids[0]) {
      return broken(place_of(place) + ": it drew token " + std::to_string(token.id) +
                    ", the largest logit of its row is that of token " +
                    std::to_string(top.ids[0]));
    }
    return std::nullopt;
  }

  void give_row(int prompt, std::int64_t position, std::span<const std::byte> bytes) {
    if (request_.spill) request_.spill(prompt, position, bytes);
    const std::pair<int, std::int64_t> key{prompt, position};
    const auto& wanted = request_.capture;
    if (std::find(wanted.begin(), wanted.end(), key) == wanted.end()) return;
    result_.captured[key].assign(values_.begin(), values_.end());
  }

  /// A prompt's rows; those of a sequence that repeats it must be the same.
  void keep(Place place) {
    PromptTrace& prompt = result_.trace.prompts[std::size_t(place.prompt)];
    const std::vector<std::int32_t>& eos = request_.eos;
    const bool ended = std::find(eos.begin(), eos.end(), place.tokens.back().id) != eos.end();
    if (!prompt.tokens.empty()) note_difference(place, prompt.tokens);
    if (!prompt.tokens.empty() && !place.first_of_prompt) return;
    prompt.ended = ended;
    prompt.tokens = std::move(place.tokens);
  }

  void note_difference(const Place& place, const std::vector<TokenRecord>& before) {
    for (std::size_t i = 0; i < std::max(before.size(), place.tokens.size()); ++i) {
      const bool both = i < before.size() && i < place.tokens.size();
      if (both && before[i].id == place.tokens[i].id &&
          before[i].digest == place.tokens[i].digest) {
        continue;
      }
      CellTrace& trace = result_.trace;
      if (trace.status != CellStatus::ok) return;
      trace.status = CellStatus::recomputed_differs;
      trace.reason = name_of_prompt(request_, std::size_t(place.prompt)) + ", position " +
                     std::to_string(before[0].position + std::int64_t(i)) +
                     ": identical sequences in one cell differ";
      return;
    }
  }

  /// Counters are the largest of any request, or their sum where each has its own.
  void add(const Ran& ran) {
    const auto larger = [](std::int64_t& all, std::int64_t one) { all = std::max(all, one); };
    const auto sum = [](std::int64_t& all, std::int64_t one) {
      if (one >= 0) all = std::max<std::int64_t>(all, 0) + one;
    };
    larger(ran_.live_rows, ran.live_rows);
    larger(ran_.chunks, ran.chunks);
    larger(ran_.threads, ran.threads);
    sum(ran_.cached_reads, ran.cached_reads);
    sum(ran_.prefix_hits, ran.prefix_hits);
    sum(ran_.steps, ran.steps);
    sum(ran_.joined_late, ran.joined_late);
    sum(ran_.left_early, ran.left_early);
    for (const auto text :
         {&Ran::device, &Ran::precision, &Ran::kv, &Ran::kernels, &Ran::library, &Ran::decode}) {
      if (!(ran.*text).empty()) ran_.*text = ran.*text;
    }
  }

  const GenerateRequest& request_;
  const Hello& hello_;
  std::int64_t vocabulary_;
  std::int64_t& id_;
  Child& child_;
  GenerateResult& result_;
  std::vector<int> queue_;
  std::size_t next_ = 0;
  std::int64_t out_of_order_ = 0;
  std::map<std::int64_t, Open> open_;
  std::vector<float> values_;
  double record_seconds_ = 0;
  Ran ran_;
};

}  // namespace

Told converse(const GenerateRequest& request, const Hello& hello, std::int64_t vocabulary,
              std::int64_t& next_id, Child& child, GenerateResult& result) {
  return Conversation(request, hello, vocabulary, next_id, child, result).run();
}

}  // namespace isobit::exec
