// Implementation of harness/models/content_digest.h.
#include "harness/models/content_digest.h"

#include <charconv>
#include <cstring>
#include <vector>

#include "runtime/base/interrupt.h"
#include "runtime/base/sha256.h"
#include "runtime/model/arch/architecture.h"
#include "runtime/model/rank_model.h"
#include "runtime/numerics/bits.h"

namespace isobit {
namespace {

/// Exact, whatever the locale.
std::string exact(double value) {
  char text[64];
  const auto end = std::to_chars(text, text + sizeof text, value, std::chars_format::hex).ptr;
  return {text, end};
}

/// Cosines and sines of position 1, and the numbers of the kinds that look at the length.
std::string rope_text(const ModelConfig& config, const Rope& rope) {
  RopeRows rows;
  rows.extend(config, 2, {});
  const RopeTables tables = make_rope_tables(config, rope, rows.all());
  const auto half = config.rotary_dims(rope) / 2;
  std::vector<double> row(tables.cosine.begin() + half, tables.cosine.begin() + 2 * half);
  row.insert(row.end(), tables.sine.begin() + half, tables.sine.begin() + 2 * half);
  std::string text = to_hex(sha256(row.data(), row.size() * sizeof(double)));
  const RopeScaling& scaling = rope.scaling;
  const bool looks =
      scaling.kind == RopeScaling::Kind::dynamic || scaling.kind == RopeScaling::Kind::longrope;
  if (!looks) return text;
  text += std::string(" ") + name_of(scaling.kind) + " " + exact(scaling.factor) + " " +
          std::to_string(scaling.original_context);
  for (const float factor : rope.long_factors) text += " " + exact(double(factor));
  return text;
}

/// What only some families have; nothing of it is text for the others.
std::string special_text(const ModelConfig& c) {
  std::string text;
  const auto add = [&](const char* name, double value) {
    if (value != 0) text += std::string(name) + " " + exact(value) + "\n";
  };
  if (c.query_scale != double(c.head_dim)) add("query_scale", c.query_scale);
  add("attention_softcap", c.attention_softcap);
  add("logit_softcap", c.logit_softcap);
  if (c.experts == 0) return text;
  return text + "experts " + std::to_string(c.experts) + " used " + std::to_string(c.experts_used) +
         " size " + std::to_string(c.expert_size) + " sum to one " +
         (c.experts_sum_to_one ? "yes\n" : "no\n");
}

/// What of the config enters the arithmetic.
std::string config_text(const ModelConfig& c) {
  const Architecture& architecture = architecture_of(c);
  std::string windows, ropes, routed, values;
  for (std::int64_t layer = 0; layer < c.layers; ++layer) {
    const LayerPlan plan = architecture.plan(c, layer);
    windows += " " + std::to_string(plan.window);
    ropes += " " + std::to_string(plan.rope);
    routed += plan.routed ? " 1" : " 0";
  }
  for (const Rope& rope : c.ropes) values += "\nrope " + rope_text(c, rope);
  return "isobit model content 1\narchitecture " + c.architecture + "\nvocab_size " +
         std::to_string(c.vocab_size) + "\nhidden_size " + std::to_string(c.hidden_size) +
         "\nintermediate_size " + std::to_string(c.intermediate_size) + "\nlayers " +
         std::to_string(c.layers) + "\nheads " + std::to_string(c.heads) + "\nkv_heads " +
         std::to_string(c.kv_heads) + "\nhead_dim " + std::to_string(c.head_dim) + "\nsegments " +
         std::to_string(c.segments) + "\nrms_norm_eps " + exact(c.rms_norm_eps) + "\nwindows" +
         windows + "\nropes" + ropes + values + "\nrouted" + routed + "\n" + special_text(c);
}

std::string tensor_digest(const Tensor& tensor) {
  std::vector<float> row(std::size_t(tensor.cols));
  std::vector<Sha256> rows(std::size_t(tensor.rows));
  for (std::int64_t r = 0; r < tensor.rows && interrupted == 0; ++r) {
    tensor.read_row(r, 0, tensor.cols, row);
    for (float& value : row) value = canonical(value);
    rows[std::size_t(r)] = sha256(row.data(), row.size() * sizeof(float));
  }
  return to_hex(sha256(rows.data(), rows.size() * sizeof(Sha256)));
}

std::string shape_text(const Tensor& tensor) {
  std::string text;
  for (const std::int64_t size : tensor.shape) {
    text += (text.empty() ? "" : "x") + std::to_string(size);
  }
  return text;
}

}  // namespace

Result<ContentDigest> content_digest(const LoadedModel& model) {
  ContentDigest out;
  for (const TableTensor& each : table_tensors(model.config)) {
    const Tensor* tensor = model.weights.find(each.name);
    if (tensor != nullptr) out.tensors[each.name] = tensor_digest(*tensor);
    if (interrupted != 0) return Error{"interrupted while its weights were read", model.path};
  }
  for (const std::shared_ptr<const MappedFile>& file : model.weights.files()) {
    if (file->changed()) return Error{"the file changed while it was read", file->path()};
  }
  const Architecture& architecture = architecture_of(model.config);
  const auto embedding = out.tensors.find(weight_that_fills(architecture, &RankModel::embedding));
  const auto head = out.tensors.find(weight_that_fills(architecture, &RankModel::head));
  const bool same_head = embedding != out.tensors.end() && head != out.tensors.end() &&
                         head->second == embedding->second;
  if (same_head) out.tensors.erase(head);
  std::string text = config_text(model.config);
  for (const auto& [name, digest] : out.tensors) {
    text += name + " " + shape_text(*model.weights.find(name)) + " " + digest + "\n";
  }
  out.model = to_hex(sha256(text.data(), text.size()));
  return out;
}

}  // namespace isobit
