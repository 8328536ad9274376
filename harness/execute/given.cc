// Tokens of answers and continuations, and the lines of scores.
#include "harness/execute/given.h"

#include <algorithm>

#include "harness/score/evaluate.h"
#include "runtime/base/words.h"

namespace isobit {
namespace {

using Ids = std::vector<std::int32_t>;
using Prompts = std::vector<Prompt>;

/// Whether some cell is fed what `word` names.
bool feeds(const Scenario& scenario, const std::string& word) {
  const std::vector<std::string> texts = value_texts(scenario, "teacher_forced");
  return std::find(texts.begin(), texts.end(), word) != texts.end();
}

/// The tokens of a continuation's text behind those of the prompt, where the prompt's tokens begin
/// those of both texts together; else the continuation by itself, and `apart` counts it.
Ids continuation_of(const Prompt& prompt, const Tokenizer& tokenizer, std::int64_t& apart) {
  if (!prompt.text.empty()) {
    const Ids alone = tokenizer.encode(prompt.text, true);
    const Ids both = tokenizer.encode(prompt.text + prompt.continuation, true);
    const auto size = std::ptrdiff_t(alone.size());
    if (both.size() > alone.size() && std::equal(alone.begin(), alone.end(), both.begin())) {
      return {both.begin() + size, both.end()};
    }
    ++apart;
  }
  return tokenizer.encode(prompt.continuation, false);
}

/// Ids that a prompt file gives are those of some vocabulary.
Result<void> check_ids(const Prompt& prompt, const ModelSession& session) {
  const std::int64_t size = session.model.config.vocab_size;
  for (const std::int32_t id : prompt.continuation_tokens) {
    if (id < size) continue;
    return Error{"prompt " + prompt.id + ": token id " + std::to_string(id) +
                     " of its continuation is outside the vocabulary of " + std::to_string(size),
                 prompt.place};
  }
  return {};
}

/// Tokens of each prompt by `tokens_of`, and the digest of them all.
template <class Tokens>
Result<std::string> read_tokens_of(const Scenario& scenario, const Prompts& prompts,
                                   const ModelSession& session, const std::string& what,
                                   const Tokens& tokens_of, std::vector<Ids>& out) {
  std::string all;
  for (const Prompt& prompt : prompts) {
    const auto wrong = [&](const std::string& why) {
      return Error{"prompt " + prompt.id + why + ", and teacher_forced is " + what, prompt.place};
    };
    const std::string name = (what == "answer" ? " has an " : " has a ") + what;
    const bool text = what == "answer" ? !prompt.answer.empty() : !prompt.continuation.empty();
    if (!text && (what == "answer" || prompt.continuation_tokens.empty()))
      return wrong(" has no " + what);
    if (text && !session.tokenizer) return wrong(name + " that no tokenizer can read");
    Ids ids = tokens_of(prompt);
    const auto size = std::int64_t(ids.size());
    if (ids.empty()) return wrong(name + " of no token");
    if (size > scenario.decode.max_new_tokens) {
      return wrong(name + " of " + std::to_string(size) + " tokens, max_new_tokens is " +
                   std::to_string(scenario.decode.max_new_tokens));
    }
    const Sha256 hash = tokens_digest(ids);
    all.append(reinterpret_cast<const char*>(hash.data()), hash.size());
    out.push_back(std::move(ids));
  }
  return to_hex(sha256(all.data(), all.size()));
}

Result<void> read_continuations(const Scenario& scenario, const Prompts& prompts,
                                ModelSession& session) {
  for (const Prompt& prompt : prompts) {
    if (auto ok = check_ids(prompt, session); !ok) return ok;
  }
  std::int64_t apart = 0;
  const auto tokens_of = [&](const Prompt& prompt) {
    if (!prompt.continuation_tokens.empty()) return prompt.continuation_tokens;
    return continuation_of(prompt, *session.tokenizer, apart);
  };
  auto digest =
      read_tokens_of(scenario, prompts, session, "continuation", tokens_of, session.continuations);
  ISOBIT_TRY(digest);
  session.inputs.continuations_digest = *digest;
  if (apart > 0) {
    session.warnings.push_back(
        std::to_string(apart) + (apart == 1 ? " continuation is" : " continuations are") +
        " tokenised apart from the prompt, whose tokens do not begin those of the whole text");
  }
  return {};
}

std::string given_text(const Prompt& prompt, const ModelSession& session) {
  if (!prompt.continuation.empty() || !session.tokenizer) return prompt.continuation;
  std::string out;
  for (const std::int32_t id : prompt.continuation_tokens)
    out += session.tokenizer->token_bytes(id);
  return out;
}

Result<void> check_choices(const Scenario& scenario, const Prompts& prompts) {
  const auto is_choice = [](const Prompt& prompt) { return prompt.choice >= 0; };
  const auto at = std::find_if(prompts.begin(), prompts.end(), is_choice);
  if (at == prompts.end()) return {};
  if (!scenario.golden.none) {
    return Error{
        "the choices of a line share the prompt's tokens, which name a golden block: "
        "the scenario needs golden: none",
        at->place};
  }
  const auto is_score = [](const ScoreSpec& spec) { return spec.kind == ScoreKind::choice; };
  const bool asked = std::any_of(scenario.scores.begin(), scenario.scores.end(), is_score);
  if (!asked || feeds(scenario, "continuation")) return {};
  return Error{
      "score choice: no cell is fed the choices; add decode: {teacher_forced: "
      "continuation}",
      scenario.path};
}

}  // namespace

Result<void> read_given_tokens(const Scenario& scenario, const Prompts& prompts,
                               ModelSession& session) {
  if (feeds(scenario, "answer")) {
    const auto tokens_of = [&](const Prompt& prompt) {
      return session.tokenizer->encode(prompt.answer, false);
    };
    auto digest = read_tokens_of(scenario, prompts, session, "answer", tokens_of, session.answers);
    ISOBIT_TRY(digest);
    session.inputs.answers_digest = *digest;
  }
  if (!feeds(scenario, "continuation")) return {};
  return read_continuations(scenario, prompts, session);
}

Result<void> read_score_lines(const Scenario& scenario, const Prompts& prompts,
                              ModelSession& session) {
  for (std::size_t p = 0; p < prompts.size(); ++p) {
    const Prompt& prompt = prompts[p];
    ScoreLine& line = session.lines.emplace_back();
    line.id = prompt.id;
    line.tokens_digest = tokens_digest(session.tokens[p].tokens);
    line.given = given_text(prompt, session);
    if (p < session.continuations.size())
      line.continuation = std::int64_t(session.continuations[p].size());
    line.answer = prompt.answer;
    line.values = prompt.values;
    line.instructions = prompt.instructions;
    line.line = prompt.line;
    line.choice = prompt.choice;
    line.right = prompt.right;
  }
  for (const ScoreSpec& spec : scenario.scores) {
    if (can_score(spec.kind, session.lines)) continue;
    return Error{std::string("score ") + name_of(spec.kind) + ": " + what_it_needs(spec.kind) +
                     " in " + in_quotes(scenario.prompts.file),
                 scenario.path};
  }
  return check_choices(scenario, prompts);
}

}  // namespace isobit
