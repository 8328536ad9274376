// Opens a merged model (merge.h): finds its tasks, checks them against the base, merges by tensor.
#include "harness/models/merge.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <memory>
#include <set>

#include "harness/models/content_digest.h"
#include "harness/models/files.h"
#include "harness/models/task_file.h"
#include "runtime/base/interrupt.h"
#include "runtime/base/sha256.h"
#include "runtime/base/words.h"
#include "runtime/numerics/bits.h"

namespace isobit::models {
namespace {

namespace fs = std::filesystem;

constexpr const char* kTaskFile = ".tasks";

/// One task: a fine-tuned model's tensors, or a place in a file of task vectors.
struct Source {
  std::string name, path;
  std::shared_ptr<const LoadedModel> model;  // null: of a file of task vectors
  std::shared_ptr<const TaskFile> file;
  std::size_t index = 0;  // in it
};

/// What a task's word says: FILE.tasks:NAME is the file and the name.
struct TaskWord {
  std::string path, name;
  bool is_file = false;  // of task vectors
};

TaskWord parse_task(const std::string& word) {
  const std::string marker = std::string(kTaskFile) + ":";
  const std::size_t at = word.rfind(marker);
  if (at != std::string::npos) {
    return {word.substr(0, at + marker.size() - 1), word.substr(at + marker.size()), true};
  }
  return {word, "", fs::path(word).extension() == kTaskFile};
}

/// A file beside the scenario, else in the working folder.
Result<std::string> find_file(const std::string& word, const std::string& folder) {
  std::error_code problem;
  const fs::path beside = (fs::path(folder) / word).lexically_normal();
  if (fs::exists(beside, problem)) return beside.string();
  if (fs::exists(word, problem)) return fs::path(word).lexically_normal().string();
  return Error{"model: task " + in_quotes(word) + ": no such file", ""};
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text;
  for (const std::int64_t size : shape) text += (text.empty() ? "" : "x") + std::to_string(size);
  return text.empty() ? "one number" : text;
}

/// A task has the base's tensors with the base's shapes, and no others. `shapes`: of the task.
Result<void> check_shapes(const Weights& base,
                          const std::map<std::string, std::vector<std::int64_t>>& shapes,
                          const std::string& path) {
  for (const auto& [name, tensor] : base.all()) {
    const auto found = shapes.find(name);
    if (found == shapes.end()) {
      return Error{"has no tensor " + in_quotes(name) +
                       ", which the base model has: it is no "
                       "fine-tuned form of it",
                   path};
    }
    if (found->second == tensor.shape) continue;
    return Error{"tensor " + in_quotes(name) + " is " + shape_text(found->second) +
                     ", the base model's is " + shape_text(tensor.shape),
                 path};
  }
  for (const auto& [name, shape] : shapes) {
    if (base.find(name) != nullptr) continue;
    return Error{"has a tensor " + in_quotes(name) + " that the base model has not", path};
  }
  return {};
}

std::map<std::string, std::vector<std::int64_t>> shapes_of(const Weights& weights) {
  std::map<std::string, std::vector<std::int64_t>> out;
  for (const auto& [name, tensor] : weights.all()) out[name] = tensor.shape;
  for (const auto& [name, tensor] : weights.opaque()) out[name] = tensor.shape;
  return out;
}

/// One .safetensors file, whose tensors have the base's names.
Result<LoadedModel> open_tensors(const std::string& path) {
  const auto mapped = MappedFile::open(path);
  ISOBIT_TRY(mapped);
  LoadedModel model;
  if (auto ok = read_safetensors((*mapped)->bytes(), path, model.weights); !ok) return ok.error();
  if (!model.weights.opaque().empty()) {
    const auto& [name, tensor] = *model.weights.opaque().begin();
    return Error{"tensor " + in_quotes(name) + " has type " + tensor.type + ", no number", path};
  }
  model.weights.keep(*mapped);
  model.path = path;
  model.files = {path};
  return model;
}

bool is_tensor_file(const std::string& word) {
  return fs::path(word).extension() == ".safetensors";
}

/// What opening tasks needs and leaves.
class Opener {
 public:
  Opener(LoadedModel& base, const MergedModel& merged, const std::string& folder)
      : base_(base), merged_(merged), folder_(folder) {}

  Result<std::vector<Source>> sources() {
    for (const std::string& word : merged_.tasks) {
      const TaskWord task = parse_task(word);
      auto ok = task.is_file ? add_file(task) : add_model(word);
      if (!ok) return Error{ok.error().message, ok.error().place.empty() ? word : ok.error().place};
    }
    return std::move(sources_);
  }

 private:
  LoadedModel& base_;
  const MergedModel& merged_;
  const std::string& folder_;
  std::string base_digest_;  // of its content; empty: not yet known
  std::vector<Source> sources_;

  Result<void> add_model(const std::string& word) {
    Result<std::string> path = is_tensor_file(word) ? find_file(word, folder_) : Result(word);
    ISOBIT_TRY(path);
    Result<LoadedModel> model =
        is_tensor_file(word) ? open_tensors(*path) : open_model(word, folder_);
    ISOBIT_TRY(model);
    if (auto ok = check_shapes(base_.weights, shapes_of(model->weights), model->path); !ok) {
      return ok;
    }
    for (const auto& file : model->weights.files()) base_.weights.keep(file);
    base_.files.insert(base_.files.end(), model->files.begin(), model->files.end());
    Source source;
    source.path = model->path;
    fs::path named = fs::path(model->path).lexically_normal();
    if (!named.has_filename()) named = named.parent_path();  // "folder/"
    source.name = fs::is_directory(named) ? named.filename().string() : named.stem().string();
    source.model = std::make_shared<const LoadedModel>(std::move(*model));
    sources_.push_back(std::move(source));
    return {};
  }

  Result<void> check_base(const TaskFile& file, const std::string& path) {
    if (base_digest_.empty()) {
      const auto digest = content_digest(base_);
      ISOBIT_TRY(digest);
      base_digest_ = digest->model;
    }
    if (file.base_digest != base_digest_) {
      return Error{"its base has content digest " + file.base_digest + ", this one " +
                       base_digest_ + " (isobit model digest " + merged_.base + ")",
                   path};
    }
    std::map<std::string, std::vector<std::int64_t>> shapes;
    for (const auto& [name, tensor] : file.tensors) shapes[name] = tensor.shape;
    return check_shapes(base_.weights, shapes, path);
  }

  Result<void> add_file(const TaskWord& task) {
    const auto path = find_file(task.path, folder_);
    ISOBIT_TRY(path);
    if (merged_.store.kind != TaskStore::Kind::none) {
      return Error{"is a store of task vectors already; leave out the key store", *path};
    }
    const auto mapped = MappedFile::open(*path);
    ISOBIT_TRY(mapped);
    auto read = read_task_file((*mapped)->bytes(), *path);
    ISOBIT_TRY(read);
    if (auto ok = check_base(*read, *path); !ok) return ok;
    base_.weights.keep(*mapped);
    base_.files.push_back(*path);
    const auto file = std::make_shared<const TaskFile>(std::move(*read));
    const std::vector<std::string>& names = file->tasks;
    if (!task.name.empty() && std::find(names.begin(), names.end(), task.name) == names.end()) {
      return Error{"has no task " + in_quotes(task.name) + among_known(task.name, names), *path};
    }
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (!task.name.empty() && task.name != names[i]) continue;
      sources_.push_back({names[i], *path, nullptr, file, i});
    }
    return {};
  }
};

std::vector<float> values_of(const Tensor& tensor) {
  std::vector<float> out(std::size_t(tensor.rows * tensor.cols));
  for (std::int64_t r = 0; r < tensor.rows; ++r) {
    tensor.read_row(r, 0, tensor.cols,
                    std::span(out).subspan(std::size_t(r * tensor.cols), std::size_t(tensor.cols)));
  }
  return out;
}

std::vector<std::vector<float>> tuned_values(const std::vector<Source>& sources,
                                             const std::string& name) {
  std::vector<std::vector<float>> out;
  for (const Source& source : sources) {
    out.push_back(values_of(*source.model->weights.find(name)));
  }
  return out;
}

/// The sum of the tasks' vectors of one tensor, in their order. Errors have no place.
Result<std::vector<double>> summed(const std::vector<Source>& sources, const TaskStore& store,
                                   const std::string& name, std::span<const float> pre) {
  std::vector<double> sum(pre.size(), 0.0);
  if (store.kind != TaskStore::Kind::none) {
    const auto stored = store_tensor(store, pre, tuned_values(sources, name));
    ISOBIT_TRY(stored);
    for (std::size_t t = 0; t < sources.size(); ++t) add_stored(*stored, t, pre, sum);
    return sum;
  }
  const TaskFile* read = nullptr;  // whose tensor is in `stored`
  StoredTensor stored;
  for (const Source& source : sources) {
    if (source.model != nullptr) {
      add_difference(pre, values_of(*source.model->weights.find(name)), sum);
      continue;
    }
    if (read != source.file.get())
      stored = read_tensor(*source.file, source.file->tensors.at(name));
    read = source.file.get();
    add_stored(stored, source.index, pre, sum);
  }
  return sum;
}

void put(const std::string& name, std::vector<float> values, LoadedModel& model) {
  const auto kept = std::make_shared<std::vector<float>>(std::move(values));
  Tensor changed = *model.weights.find(name);
  changed.type = TensorType::f32;
  changed.scales = nullptr;
  changed.row_order.clear();
  changed.added = 0;
  changed.bytes = std::as_bytes(std::span<const float>(*kept));
  model.weights.keep(kept);
  model.weights.add(std::move(changed));
}

std::string number_text(double value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

/// Merges all tensors into `model`, the base.
Result<void> merge(const std::vector<Source>& sources, const MergedModel& merged,
                   LoadedModel& model) {
  bool moves = false, changes = false;  // some sum is not 0; some weight is another one
  std::vector<std::string> names;
  for (const auto& [name, tensor] : model.weights.all()) names.push_back(name);
  for (const std::string& name : names) {
    if (interrupted != 0) return Error{"interrupted while its weights were merged", model.path};
    const std::vector<float> pre = values_of(*model.weights.find(name));
    const auto sum =
        pre.empty() ? Result(std::vector<double>()) : summed(sources, merged.store, name, pre);
    auto values =
        sum ? merged_tensor(pre, merged.scale, *sum) : Result<std::vector<float>>(sum.error());
    if (!values)
      return Error{"tensor " + in_quotes(name) + ": " + values.error().message, model.path};
    moves |= std::any_of(sum->begin(), sum->end(), [](double x) { return x != 0; });
    const auto same = [](float a, float b) { return same_bits(a, b); };  // a zero has a sign
    if (std::equal(values->begin(), values->end(), pre.begin(), pre.end(), same)) continue;
    changes = true;
    put(name, std::move(*values), model);
  }
  if (changes) return {};
  if (!moves) return Error{"the merge changes no weight: its tasks are the base's own", model.path};
  return Error{"arithmetic: " + number_text(merged.scale) + " is so small that no weight changes",
               model.path};
}

void tell(const std::vector<Source>& sources, const MergedModel& merged, LoadedModel& model) {
  std::string names;
  for (const Source& source : sources) names += (names.empty() ? "" : ", ") + source.name;
  const TaskFile* file = sources.front().file.get();
  const TaskStore store = file == nullptr ? merged.store : file->store;
  model.metadata["merged.tasks"] = names;
  model.metadata["merged.store"] = text_of(store);
  if (store.kind == TaskStore::Kind::none) return;
  std::int64_t values = 0;
  for (const auto& [name, tensor] : model.weights.all()) values += tensor.rows * tensor.cols;
  const std::size_t tasks = file == nullptr ? sources.size() : file->tasks.size();
  const StoredBits bits =
      stored_bits(store, tasks, values, std::int64_t(model.weights.all().size()));
  model.metadata["merged.bits_per_value"] = number_text(bits.codes);
  model.metadata["merged.bits_per_value_with_grids"] = number_text(bits.all);
}

}  // namespace

Result<LoadedModel> open_merged(const MergedModel& merged, const std::string& folder) {
  Result<LoadedModel> model = open_model(merged.base, folder);
  ISOBIT_TRY(model);
  if (merged.tasks.empty()) return model;
  const auto sources = Opener(*model, merged, folder).sources();
  ISOBIT_TRY(sources);
  if (auto ok = merge(*sources, merged, *model); !ok) return ok.error();
  tell(*sources, merged, *model);
  std::sort(model->files.begin(), model->files.end());
  model->files.erase(std::unique(model->files.begin(), model->files.end()), model->files.end());
  return model;
}

Result<std::string> merged_digest(const MergedModel& merged, const std::string& folder) {
  const auto base = open_model(merged.base, folder);
  ISOBIT_TRY(base);
  const auto digest = model_digest(*base, merged.base, folder);
  if (!digest || merged.tasks.empty()) return digest;
  std::uint64_t scale = 0;
  std::memcpy(&scale, &merged.scale, sizeof scale);
  std::string text = "isobit merged model 1\nbase " + *digest + "\narithmetic " +
                     std::to_string(scale) + "\nstore " + text_of(merged.store) + "\n";
  for (const std::string& word : merged.tasks) {
    const TaskWord task = parse_task(word);
    Result<std::string> of_task("");
    if (task.is_file || is_tensor_file(word)) {
      const auto path = find_file(task.path, folder);
      ISOBIT_TRY(path);
      of_task = file_sha256(*path);
    } else {
      const auto model = open_model(word, folder);
      ISOBIT_TRY(model);
      of_task = model_digest(*model, word, folder);
    }
    ISOBIT_TRY(of_task);
    text += "task " + *of_task + (task.name.empty() ? "" : " " + task.name) + "\n";
  }
  return to_hex(sha256(text.data(), text.size()));
}

Result<std::string> pack_tasks(const MergedModel& merged, const std::string& folder) {
  Result<LoadedModel> model = open_model(merged.base, folder);
  ISOBIT_TRY(model);
  const auto sources = Opener(*model, merged, folder).sources();
  ISOBIT_TRY(sources);
  const auto digest = content_digest(*model);
  ISOBIT_TRY(digest);
  TaskFile file;
  file.base_digest = digest->model;
  file.store = merged.store;
  std::set<std::string> names;
  for (const Source& source : *sources) {
    const bool plain = source.name.find(':') == std::string::npos && is_one_line(source.name);
    if (!plain || source.name.empty() || !names.insert(source.name).second) {
      return Error{"a task's name is its file's or folder's: " + in_quotes(source.name) +
                       " is another task's name too, or has a ':'",
                   source.path};
    }
    file.tasks.push_back(source.name);
  }
  std::map<std::string, StoredTensor> stored;
  for (const auto& [name, tensor] : model->weights.all()) {
    const std::vector<float> pre = values_of(tensor);
    auto parts = store_tensor(merged.store, pre, tuned_values(*sources, name));
    if (!parts)
      return Error{"tensor " + in_quotes(name) + ": " + parts.error().message, model->path};
    file.tensors[name] = {name, tensor.shape, pre.size(), 0};
    stored[name] = std::move(*parts);
  }
  return task_file_bytes(file, stored);
}

}  // namespace isobit::models
