// Loads what cells share and turns a cell's axes into the runtime's request.

#include "harness/execute/session.h"

#include <algorithm>
#include <filesystem>
#include <future>

#include "harness/execute/given.h"
#include "harness/execute/patches.h"
#include "harness/matrix/patches.h"
#include "harness/models/models.h"
#include "runtime/base/interrupt.h"
#include "runtime/base/words.h"
#include "runtime/run/ranks.h"
#include "runtime/run/replicas.h"

namespace isobit {
namespace {

/// Tokens of a chat without a template: the content of its only message as text.
Result<std::vector<std::int32_t>> raw_tokens_of(const Prompt& prompt, const ModelSession& session) {
  if (prompt.messages.size() != 1 || prompt.messages.front().first != "user") {
    return Error{"prompt " + prompt.id + ": raw is for one message of role user; this prompt has " +
                     std::to_string(prompt.messages.size()) +
                     (prompt.messages.size() == 1 ? " of another role" : ""),
                 prompt.place};
  }
  return session.tokenizer->encode(prompt.messages.front().second, true);
}

/// Tokens of one prompt: as given, or encoded text or chat.
Result<std::vector<std::int32_t>> tokens_of(const Prompt& prompt, bool raw,
                                            const ModelSession& session) {
  const std::string& place = prompt.place;
  if (!prompt.tokens.empty()) return prompt.tokens;
  if (!session.tokenizer) return Error{"prompt " + prompt.id + " needs a tokenizer", place};
  if (prompt.messages.empty()) return session.tokenizer->encode(prompt.text, true);
  if (raw) return raw_tokens_of(prompt, session);
  std::vector<ChatMessage> messages;
  for (const auto& [role, content] : prompt.messages) messages.push_back({role, content});
  auto text = session.tokenizer->apply_chat(messages);
  if (!text) return Error{"prompt " + prompt.id + ": " + text.error().message, place};
  std::vector<std::int32_t> ids = session.tokenizer->encode(*text, false);
  const std::int32_t bos = session.tokenizer->bos();
  if (session.tokenizer->adds_bos() && bos >= 0 && (ids.empty() || ids.front() != bos)) {
    ids.insert(ids.begin(), bos);
  }
  return ids;
}

/// Repeats a prompt's tokens after its first (a BOS stays alone) up to a length.
void pad(std::vector<std::int32_t>& tokens, std::int64_t length) {
  const std::size_t n = tokens.size();
  const std::size_t first = n > 1 ? 1 : 0;
  for (std::size_t i = first; std::int64_t(tokens.size()) < length; i = i + 1 < n ? i + 1 : first) {
    tokens.push_back(tokens[i]);
  }
}

/// What the runtime would refuse, before anything is computed.
Result<void> check_prompt(const Prompt& prompt, const std::vector<std::int32_t>& tokens,
                          std::int64_t new_tokens, const ModelSession& session) {
  const ModelConfig& config = session.model.config;
  const std::string name = "prompt " + prompt.id;
  if (tokens.empty()) return Error{name + " has no tokens", prompt.place};
  for (const std::int32_t id : tokens) {
    if (id >= 0 && id < config.vocab_size) continue;
    const std::string text = session.tokenizer ? session.tokenizer->token_bytes(id) : "";
    return Error{name + ": token id " + std::to_string(id) +
                     (text.empty() ? "" : " (" + in_quotes(text) + ")") +
                     " is outside the vocabulary of " + std::to_string(config.vocab_size),
                 prompt.place};
  }
  const auto length = std::int64_t(tokens.size());
  if (length > config.context - new_tokens) {
    return Error{name + " has " + std::to_string(length) + " tokens; with max_new_tokens " +
                     std::to_string(new_tokens) + " that is more than the model's context of " +
                     std::to_string(config.context),
                 prompt.place};
  }
  return {};
}

/// One warning for all prompts of a kind: "2 prompts do not begin with the model's BOS: p1, p2".
void warn_of_bos(const std::vector<std::string>& ids, ModelSession& session) {
  if (ids.empty()) return;
  constexpr std::size_t kMost = 5;
  std::string text =
      ids.size() == 1 ? "1 prompt does not begin with the model's BOS: "
                      : std::to_string(ids.size()) + " prompts do not begin with the model's BOS: ";
  for (std::size_t i = 0; i < std::min(ids.size(), kMost); ++i) {
    text += (i == 0 ? "" : ", ") + ids[i];
  }
  session.warnings.push_back(text + (ids.size() > kMost ? ", …" : ""));
}

/// States of all the model's files; a mapped one that is no longer the one its path names, or that
/// was written to, has none.
std::vector<std::optional<FileState>> states_of(const LoadedModel& model) {
  std::vector<std::optional<FileState>> out;
  for (const std::string& path : model.files) out.push_back(file_state(path));
  for (const auto& file : model.weights.files()) {
    const bool same = !file->changed() && file_state(file->path()) == file->state();
    out.push_back(same ? std::optional(file->state()) : std::nullopt);
  }
  return out;
}

/// The digest of what was loaded: a file that changes meanwhile would give its key to other bits.
Result<std::string> digest_of(const LoadedModel& model, const std::string& name,
                              const std::string& base) {
  const auto before = states_of(model);
  auto digest = model_digest(model, name, base);
  ISOBIT_TRY(digest);
  const auto after = states_of(model);
  for (std::size_t i = 0; i < after.size(); ++i) {
    if (after[i] && before[i] == after[i]) continue;
    return Error{"the model's files changed while they were read",
                 i < model.files.size() ? model.files[i]
                                        : model.weights.files()[i - model.files.size()]->path()};
  }
  return digest;
}

}  // namespace

Result<std::vector<Prompt>> read_prompts(const Scenario& scenario) {
  const std::filesystem::path folder = std::filesystem::path(scenario.path).parent_path();
  const std::string file = (folder / scenario.prompts.file).lexically_normal().string();
  auto prompts = load_prompts(file, scenario.prompts);
  ISOBIT_TRY(prompts);
  return expand_choices(*prompts);
}

Result<void> read_tokens(const Scenario& scenario, const std::vector<Prompt>& prompts,
                         ModelSession& session) {
  const bool all_tokens = std::all_of(prompts.begin(), prompts.end(),
                                      [](const Prompt& prompt) { return !prompt.tokens.empty(); });
  if (has_tokenizer(session.model) || !all_tokens) {
    auto tokenizer = Tokenizer::from_model(session.model);
    if (tokenizer) {
      session.tokenizer.emplace(std::move(*tokenizer));
    } else if (all_tokens) {  // it would only show what tokens mean
      session.warnings.push_back("tokens are shown as ids, the tokenizer cannot be read: " +
                                 tokenizer.error().text());
    } else {
      return tokenizer.error();
    }
  }
  std::string all;
  std::vector<std::string> without_bos;
  for (const Prompt& prompt : prompts) {
    auto ids = tokens_of(prompt, scenario.prompts.raw, session);
    ISOBIT_TRY(ids);
    if (interrupted != 0) return Error{"interrupted while prompts were tokenised", prompt.place};
    pad(*ids, scenario.prompts.pad_to);
    auto fits = check_prompt(prompt, *ids, scenario.decode.max_new_tokens, session);
    ISOBIT_TRY(fits);
    if (session.tokenizer && session.tokenizer->adds_bos() &&
        ids->front() != session.tokenizer->bos()) {
      without_bos.push_back(prompt.id);
    }
    const Sha256 hash = tokens_digest(*ids);
    all.append(reinterpret_cast<const char*>(hash.data()), hash.size());
    session.inputs.prompt_digests[prompt.id] = to_hex(hash);
    session.tokens.push_back({std::move(*ids), {}, prompt.id});
  }
  session.inputs.prompts_digest = to_hex(sha256(all.data(), all.size()));
  if (auto ok = read_given_tokens(scenario, prompts, session); !ok) return ok;
  if (auto ok = read_score_lines(scenario, prompts, session); !ok) return ok;
  warn_of_bos(without_bos, session);
  return {};
}

const Lessons& ModelSession::given(const std::string& taught) const {
  static const Lessons kNone;
  return taught == "answer" ? answers : taught == "continuation" ? continuations : kNone;
}

std::string model_changed(const ModelSession& session) {
  for (const auto& file : session.model.weights.files()) {
    if (file->changed()) return "the model's files changed during the run (" + file->path() + ")";
  }
  return "";
}

namespace {

/// The digests that recipes need, and what ends a reply.
void name_inputs(const Scenario& scenario, const std::string& digest, ModelSession& session) {
  session.inputs.model_digest = digest;
  session.inputs.numerics_version = kNumericsVersion;
  session.inputs.segments = session.model.config.segments;
  session.inputs.tokenizer_digest = "none";
  if (session.tokenizer) {
    const std::string text = session.tokenizer->fingerprint_text();
    session.inputs.tokenizer_digest = to_hex(sha256(text.data(), text.size()));
  }
  if (scenario.decode.ignore_eos) return;
  session.eos = session.model.config.eos_tokens;
  const bool whole = session.model.config.stop_set_is_whole;
  const std::int32_t eos = session.tokenizer && !whole ? session.tokenizer->eos() : -1;
  if (eos >= 0 && std::find(session.eos.begin(), session.eos.end(), eos) == session.eos.end()) {
    session.eos.push_back(eos);
  }
}

Result<ModelSession> open_one(const Scenario& scenario, const AxisValue& value,
                              const std::vector<Prompt>& prompts) {
  ModelSession session;
  session.name = value.text;
  session.word = std::get<std::string>(value.setting);
  const std::string folder = std::filesystem::path(scenario.path).parent_path().string();
  auto model = open_model(session.word, folder);
  if (!model) return model_error(model.error(), value, scenario);
  session.model = std::move(*model);
  // The files are verified while prompts are read; nothing computes before both are done.
  auto digesting = std::async(std::launch::async,
                              [&] { return digest_of(session.model, session.word, folder); });
  const Result<void> tokens = read_tokens(scenario, prompts, session);
  auto digest = digesting.get();
  ISOBIT_TRY(digest);
  ISOBIT_TRY(tokens);
  name_inputs(scenario, *digest, session);
  return session;
}

}  // namespace

Error model_error(const Error& error, const AxisValue& value, const Scenario& scenario) {
  const auto* word = std::get_if<std::string>(&value.setting);
  const std::string place = value.place.empty() ? scenario.path : value.place;
  if (error.place.empty()) return Error{error.message, place};
  const bool names_it = word != nullptr && error.place == *word && !value.place.empty();
  return names_it ? Error{error.place + ": " + error.message, place} : error;
}

const ModelSession* Session::find(const Cell& cell) const {
  const auto at = std::find_if(models.begin(), models.end(), [&](const ModelSession& model) {
    return model.name == cell.value("model");
  });
  return at == models.end() ? nullptr : &*at;
}

const ModelSession& Session::of(const Cell& cell) const {
  const ModelSession* const model = find(cell);
  ISOBIT_CHECK(model != nullptr);
  return *model;
}

std::vector<std::string> Session::warnings() const {
  std::vector<std::string> out;
  for (const ModelSession& model : models) {
    const std::string of = models.size() > 1 ? "model " + model.name + ": " : "";
    for (const std::string& warning : model.warnings) out.push_back(of + warning);
  }
  return out;
}

Result<Session> open_session(const Scenario& scenario, const std::set<std::string>* wanted) {
  if (scenario.operation.kind != OperationKind::none) return open_operation(scenario);
  Session session;
  auto prompts = read_prompts(scenario);
  ISOBIT_TRY(prompts);
  session.prompts = std::move(*prompts);
  for (const AxisValue& value : models_of(scenario)) {
    if (wanted != nullptr && wanted->count(value.text) == 0) continue;
    auto model = open_one(scenario, value, session.prompts);
    ISOBIT_TRY(model);
    session.models.push_back(std::move(*model));
  }
  return session;
}

GenerateRequest request_for(const Scenario& scenario, const Session& session, const Cell& cell,
                            const std::vector<std::vector<std::int32_t>>& teacher) {
  const ModelSession& model = session.of(cell);
  GenerateRequest request = cell.requested();
  request.prompts = model.tokens;
  request.operation.kind = scenario.operation.kind;
  request.operation.shapes = session.shapes;
  request.max_new_tokens = scenario.decode.max_new_tokens;
  request.eos = model.eos;
  request.level = scenario.observe;
  request.log_sums = needs_log_sums(scenario, cell);
  request.fed_logits = needs_fed_logits(scenario);
  if (!teacher.empty()) {
    ISOBIT_CHECK(teacher.size() == request.prompts.size());
    for (std::size_t p = 0; p < teacher.size(); ++p) request.prompts[p].teacher = teacher[p];
    request.eos.clear();  // the teacher's length ends a sequence
  }
  add_donor(scenario, session, cell, teacher, request);
  return request;
}

std::string transport_of(const Cell& cell) {
  const GenerateRequest asked = cell.requested();
  return transport_identity(asked.backend, asked.ranks);
}

namespace {

/// Why a machine does not have what a requirement names, or empty.
std::string missing_for(const Requirement& requirement, const GenerateRequest& asked) {
  const std::string& what = requirement.what;
  const std::string requires_it = requirement.subject + " requires " + what;
  if (what == "gpu") return asked.backend.device == "cuda" ? "" : requires_it;
  if (what == "mpi") {
    if (world() != nullptr && world()->size() == asked.ranks) return "";
    return requires_it + ": mpirun -n " + std::to_string(asked.ranks) + " isobit-mpi";
  }
  const auto replicas = std::size_t(asked.replicas);
  if (what == "real" && replicas > 1) {
    const std::size_t gpus = gpus_of(asked.backend, asked.replicas).size();
    if (gpus >= replicas) return "";
    return requires_it + ": " + std::to_string(replicas) + " replicas have " +
           std::to_string(gpus) + " GPUs";
  }
  if (what == "real" || what == "nccl") {
    const std::string why = why_virtual(asked.backend, asked.ranks);
    return why.empty() ? "" : requires_it + ": " + why;
  }
  // An instruction set or an engine: there when a cell that asks for it could run.
  const bool engine = find_engine(what) != nullptr;
  std::string why;
  for (const char* device : {"cpu", "cuda"}) {
    BackendOptions probe;
    probe.device = device;
    if (engine) probe.engine.name = what;
    if (!engine) probe.isa = what;
    why = unsupported_reason(probe, mode_of(Precision::fp32));
    if (why.empty() || !engine) break;
  }
  return why.empty() ? "" : requires_it + ": " + why;
}

}  // namespace

bool can_be_met(const Requirement& requirement, const Cell& cell) {
  const std::string& what = requirement.what;
  const bool needs_gpu = what == "gpu" || what == "nccl" || what == "real";
  return !needs_gpu || cell.value("device") != "cpu";
}

std::string skip_reason(const Scenario& scenario, const Session& session, const Cell& cell) {
  GenerateRequest asked = cell.requested();
  if (std::string why = unsupported_reason(asked.backend, mode_of(asked.precision)); !why.empty()) {
    return why;
  }
  if (scenario.operation.kind == OperationKind::none) {
    asked.prompts = session.of(cell).tokens;
    asked.max_new_tokens = scenario.decode.max_new_tokens;
    asked.eos = session.of(cell).eos;
    const bool taught = cell.value("teacher_forced") != "false";
    for (PromptTokens& prompt : asked.prompts) prompt.teacher.assign(taught ? 1 : 0, 0);
  }
  const EngineEntry* engine = find_engine(asked.backend.engine.name);
  if (engine->refuse != nullptr) {
    if (std::string why = engine->refuse(asked); !why.empty()) return why;
  }
  if (scenario.operation.kind == OperationKind::none) {
    if (std::string why = refuse_ranks(session.of(cell).model.config, asked.ranks); !why.empty())
      return why;
    if (std::string why = refuse_replicas(asked); !why.empty()) return why;
  }
  for (const Requirement& requirement : requirements_of(scenario, cell)) {
    if (std::string why = missing_for(requirement, asked); !why.empty()) return why;
  }
  if (const auto donor = donor_of(cell)) {
    const std::string why = skip_reason(scenario, session, *donor);
    return why.empty() ? "" : "the donor: " + why;
  }
  return "";
}

}  // namespace isobit
