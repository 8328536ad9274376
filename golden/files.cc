// Golden files on disk and in Git: strict reading, atomic writing, reading of a revision.
#include <algorithm>
#include <filesystem>

#include "golden/golden.h"
#include "runtime/base/file.h"
#include "runtime/base/process.h"
#include "runtime/base/words.h"

namespace isobit {
namespace {

namespace fs = std::filesystem;

Result<GoldenFile> parse_named(const std::string& text, const std::string& place,
                               const std::string& scenario) {
  if (const std::size_t at = text.find("\r\n"); at != std::string::npos) {
    const auto line = 1 + std::count(text.begin(), text.begin() + std::ptrdiff_t(at), '\n');
    return Error{
        "the line ends with CRLF, as Git's core.autocrlf makes it; add the line "
        "`*.golden text eol=lf` to .gitattributes, remove the file and take it again: "
        "`git checkout -- " +
            shell_line({place}) + "`",
        place + ":" + std::to_string(line)};
  }
  auto file = parse_golden(text, place);
  if (file && file->scenario != scenario) {
    return Error{"holds goldens of scenario '" + file->scenario + "', not of '" + scenario +
                     "' (a copied or renamed file?)",
                 place + ":2"};
  }
  return file;
}

GoldenFile empty_file(const std::string& scenario) {
  GoldenFile file;
  file.scenario = scenario;
  return file;
}

/// The file, when its ledger fits.
Result<GoldenFile> blessed(Result<GoldenFile> file, const std::string& place) {
  ISOBIT_TRY(file);
  if (auto ok = check_ledger(*file, place); !ok) return ok.error();
  return file;
}

}  // namespace

Result<void> check_ledger(const GoldenFile& file, const std::string& place) {
  const auto fail = [&](const std::string& what) {
    return Error{what + "; take it from Git again, or bless", place};
  };
  std::map<GoldenKey, const LedgerEntry*> ends;
  for (const LedgerEntry& entry : file.ledger) ends[entry.key] = &entry;
  for (const auto& [key, block] : file.blocks) {
    const std::string who = "block " + block.block_hash() + " of prompt '" + block.prompt_id + "'";
    if (to_hex(sha256(block.class_recipe.data(), block.class_recipe.size())) != key.class_hash) {
      return fail(who + " has another recipe than its class (edited by hand?)");
    }
    const auto last = ends.find(key);
    if (last == ends.end()) return fail(who + " is not in the ledger (the end was cut?)");
    if (last->second->block_hash != block.block_hash()) {
      return fail(who + " is not what the ledger ends with, " + last->second->block_hash);
    }
  }
  for (const auto& [key, last] : ends) {
    if (last->block_hash == kRetired || file.find(key) != nullptr) continue;
    return fail("the ledger has block " + last->block_hash + " of prompt '" + last->prompt_id +
                "', which is not there (`isobit prune` retires blocks)");
  }
  return {};
}

Result<GoldenFile> read_golden_file(const std::string& path, const std::string& scenario) {
  return blessed(read_pending_file(path, scenario), path);
}

Result<GoldenFile> read_pending_file(const std::string& path, const std::string& scenario) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::not_found) return empty_file(scenario);
  const auto text = read_file(path, std::size_t{1} << 30, "larger than 1 GiB: not a golden file");
  ISOBIT_TRY(text);
  return parse_named(*text, path, scenario);
}

Result<void> write_golden_file(const std::string& path, const GoldenFile& file) {
  const std::string bytes = print_golden(file);
  if (auto again = parse_golden(bytes, path); !again) {
    return Error{"refused to write a golden that could not be read back: " + again.error().message,
                 again.error().place};
  }
  if (auto ok = write_file_atomically(path, bytes); !ok) {
    return Error{ok.error().message + "; the old file is unchanged", ok.error().place};
  }
  return {};
}

Result<GoldenFile> read_golden_revision(const std::string& path, const std::string& revision,
                                        const std::string& scenario) {
  const bool one_commit = !revision.empty() && revision.front() != '-' && revision.front() != '^' &&
                          revision.find(':') == std::string::npos &&
                          revision.find("..") == std::string::npos;
  if (!one_commit) return Error{"'" + revision + "' is not a revision", path};
  fs::path folder = fs::absolute(path).lexically_normal().parent_path();
  fs::path inside = fs::path(path).filename();
  while (!fs::is_directory(folder) && folder.has_relative_path()) {
    inside = folder.filename() / inside;
    folder = folder.parent_path();
  }
  const std::vector<std::string> base{"-C", folder.string()};
  const auto git = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), base.begin(), base.end());
    return run_git(arguments);
  };
  auto commit = git({"rev-parse", "--verify", "--quiet", revision + "^{commit}"});
  if (!commit) return commit.error();
  if (commit->status != 0) {
    std::string why = commit->err.substr(0, commit->err.find('\n'));
    return Error{"Git has no revision '" + revision + "'" + (why.empty() ? "" : ": " + why), path};
  }
  // A file that the commit does not have is an empty one; what it has and Git cannot give is not.
  const std::string id = commit->out.substr(0, commit->out.find('\n'));
  auto listed = git({"ls-tree", id, "--", "./" + inside.generic_string()});
  if (!listed) return listed.error();
  if (listed->status != 0) return Error{"Git cannot read " + revision + ": " + listed->err, path};
  if (listed->out.empty()) return empty_file(scenario);
  auto shown = git({"show", id + ":./" + inside.generic_string()});
  if (!shown) return shown.error();
  if (shown->status != 0) return Error{"git show failed: " + shown->err, path};
  const std::string place = revision + ":" + path;
  return blessed(parse_named(shown->out, place, scenario), place);
}

}  // namespace isobit
