// Writing, indexing and comparing spilled rows.
#include "harness/execute/spill.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>

#include "runtime/base/interrupt.h"

namespace isobit {
namespace {

/// The logits rows of a spill file by prompt and position.
Result<std::vector<SpillRow>> read_index(const std::string& path) {
  auto rows = read_spill_index(path);
  ISOBIT_TRY(rows);
  std::erase_if(*rows, [](const SpillRow& row) { return row.key.site != Site::logits; });
  return rows;
}

template <class T>
RowDistance distance_of(const std::vector<char>& a, const std::vector<char>& b) {
  const auto view = [](const std::vector<char>& bytes) {
    return std::span<const T>(reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T));
  };
  return row_distance(view(a), view(b));
}

/// One member's rows by their places.
class MemberRows {
 public:
  static Result<std::unique_ptr<MemberRows>> open(const SpilledMember& member) {
    auto index = read_index(member.rows);
    ISOBIT_TRY(index);
    auto made = std::make_unique<MemberRows>(member);
    for (const SpillRow& row : *index)
      made->places_.emplace(std::pair(row.key.prompt, row.key.position), row);
    return made;
  }
  explicit MemberRows(const SpilledMember& member) : member_(member), reader_(member.rows) {}

  /// The logits at a place; empty: the cell has none.
  std::vector<double> at(int prompt, std::int64_t position) {
    const auto place = places_.find({prompt, position});
    if (place == places_.end()) return {};
    const std::vector<char> bytes = reader_.row(place->second);
    return member_.wide ? values<double>(bytes) : values<float>(bytes);
  }

 private:
  template <class T>
  static std::vector<double> values(const std::vector<char>& bytes) {
    std::vector<T> row(bytes.size() / sizeof(T));
    std::memcpy(row.data(), bytes.data(), row.size() * sizeof(T));
    return {row.begin(), row.end()};
  }

  const SpilledMember& member_;
  SpillReader reader_;
  std::map<std::pair<int, std::int64_t>, SpillRow> places_;
};

constexpr const char* kPrefix = "spill-";
constexpr int kYoungSeconds = 60;  // a folder that was made and is not locked yet

/// Folders of runs that were killed: nobody holds their lock.
void remove_leftovers(const std::filesystem::path& parent) {
  namespace fs = std::filesystem;
  std::error_code problem;
  std::vector<fs::path> gone;
  for (const auto& entry : fs::directory_iterator(parent, problem)) {
    if (!entry.path().filename().string().starts_with(kPrefix)) continue;
    const int folder =
        ::open(entry.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (folder < 0) continue;
    struct stat status {};
    const bool old =
        ::fstat(folder, &status) == 0 && status.st_mtim.tv_sec + kYoungSeconds < std::time(nullptr);
    if (old && ::flock(folder, LOCK_EX | LOCK_NB) == 0) gone.push_back(entry.path());
    ::close(folder);
  }
  for (const fs::path& path : gone) fs::remove_all(path, problem);
}

}  // namespace

Result<std::vector<SpillRow>> read_spill_index(const std::string& path) {
  std::ifstream file(path + ".index");
  if (!file) return Error{"cannot read the spilled rows", path};
  std::vector<SpillRow> rows;
  SpillRow row{};
  int site = 0;
  ValueKey& key = row.key;
  while (file >> key.prompt >> key.position >> key.layer >> site >> row.offset >> row.bytes) {
    if (site < 0 || site >= kValueSites) return Error{"a spill file has a strange index", path};
    key.site = Site(site);
    rows.push_back(row);
  }
  std::stable_sort(rows.begin(), rows.end(),
                   [](const SpillRow& a, const SpillRow& b) { return a.key < b.key; });
  return rows;
}

SpillReader::SpillReader(const std::string& path) : file_(path, std::ios::binary | std::ios::ate) {
  if (file_) size_ = std::max<std::int64_t>(file_.tellg(), 0);
}

std::vector<char> SpillReader::row(const SpillRow& place) {
  const bool inside = place.offset >= 0 && place.bytes >= 0 && place.bytes <= size_ - place.offset;
  if (!inside) return {};
  std::vector<char> bytes(std::size_t(place.bytes));
  file_.seekg(place.offset);
  file_.read(bytes.data(), std::streamsize(bytes.size()));
  if (!file_) bytes.clear();
  return bytes;
}

void SpillWriter::add(int prompt, std::int64_t position, std::span<const std::byte> row) {
  add({prompt, position, 0, Site::logits}, row);
}

void SpillWriter::add(const ValueKey& key, std::span<const std::byte> row) {
  if (error_ != 0) return;
  errno = 0;
  rows_.write(reinterpret_cast<const char*>(row.data()), std::streamsize(row.size()));
  if (!rows_) error_ = errno != 0 ? errno : EIO;
  index_ += std::to_string(key.prompt) + " " + std::to_string(key.position) + " " +
            std::to_string(key.layer) + " " + std::to_string(int(key.site)) + " " +
            std::to_string(offset_) + " " + std::to_string(row.size()) + "\n";
  offset_ += std::int64_t(row.size());
}

bool SpillWriter::finish() {
  errno = 0;
  rows_.close();
  std::ofstream index(path_ + ".index", std::ios::binary);
  index << index_;
  index.close();
  const bool good = bool(rows_) && bool(index);
  if (!good && error_ == 0) error_ = errno != 0 ? errno : EIO;
  return error_ == 0;
}

std::string SpillWriter::problem() const {
  return "cannot write rows by value to " + path_ + " after " + std::to_string(offset_) +
         " bytes: " + std::strerror(error_) + "; they lie beside the database and go with the run";
}

Result<WithinResult> compare_spills(const std::string& a, const std::string& b, bool wide) {
  auto rows_a = read_index(a);
  ISOBIT_TRY(rows_a);
  auto rows_b = read_index(b);
  ISOBIT_TRY(rows_b);
  std::map<std::pair<int, std::int64_t>, SpillRow> other;
  for (const SpillRow& row : *rows_b)
    other.emplace(std::pair(row.key.prompt, row.key.position), row);
  SpillReader reader_a(a), reader_b(b);
  WithinResult out;
  out.has_values = true;
  std::optional<int> flipped;  // the prompt whose later rows have other inputs
  for (const SpillRow& row : *rows_a) {
    const int prompt = row.key.prompt;
    const auto at = other.find({prompt, row.key.position});
    if (at == other.end() || prompt == flipped) continue;
    const std::vector<char> x = reader_a.row(row), y = reader_b.row(at->second);
    if (x.empty() || x.size() != y.size()) return Error{"a spill file is short", a};
    const RowDistance d = wide ? distance_of<double>(x, y) : distance_of<float>(x, y);
    ++out.tokens;
    if (d.argmax_a == d.argmax_b) {
      ++out.equal_tokens;
    } else {
      flipped = prompt;
    }
    out.max_kl = std::max(out.max_kl, d.kl);
    out.max_abs = std::max(out.max_abs, d.max_abs);
    out.max_ulp = std::max(out.max_ulp, d.max_ulp);
  }
  return out;
}

Result<EnsembleResult> measure_spills(const std::vector<SpilledMember>& members,
                                      const std::vector<SpillTarget>& targets, std::int64_t bins) {
  std::vector<std::unique_ptr<MemberRows>> rows;
  std::vector<EnsembleCell> cells;
  for (const SpilledMember& member : members) {
    auto opened = MemberRows::open(member);
    ISOBIT_TRY(opened);
    rows.push_back(std::move(*opened));
    cells.push_back(member.cell);
  }
  EnsembleSums sums(cells, bins);
  std::vector<std::vector<double>> logits(members.size());
  int prompt = 0;
  for (const SpillTarget& target : targets) {
    if (interrupted != 0) return Error{"interrupted", ""};
    if (target.prompt != prompt) sums.end_prompt();
    prompt = target.prompt;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      logits[i] = rows[i]->at(prompt, target.position);
      if (logits[i].empty()) return Error{"a spill file is short", members[i].rows};
    }
    sums.add(logits, target.token);
  }
  sums.end_prompt();
  return sums.result();
}

SpillFolder::SpillFolder(std::string database) : database_(std::move(database)) {
  const std::filesystem::path parent = std::filesystem::path(database_).parent_path();
  remove_leftovers(parent.empty() ? "." : parent);
}

SpillFolder::~SpillFolder() {
  folder_.reset();
  if (lock_ >= 0) ::close(lock_);
}

Result<std::string> SpillFolder::path(int cell) {
  if (!folder_) {
    auto made =
        TemporaryFolder::make_in(std::filesystem::path(database_).parent_path().string(), kPrefix);
    ISOBIT_TRY(made);
    folder_.emplace(std::move(*made));
    lock_ = ::open(folder_->path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    // Without locks (some network file systems) another run could take the folder for a leftover,
    // but there it could not lock it either, and leaves it.
    if (lock_ >= 0) (void)::flock(lock_, LOCK_EX | LOCK_NB);
  }
  return folder_->path() + "/" + std::to_string(cell);
}

}  // namespace isobit
