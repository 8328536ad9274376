// Expansion: which cells, in which order, with which names; hashes that depend on meaning only;
// all-pairs coverage; groups of the contract.
#include "harness/matrix/matrix.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "harness/matrix/pairwise.h"

namespace isobit {
namespace {

Scenario scenario_with(const std::string& more, const std::string& path = "t.yaml",
                       const std::string& prompts = "p.jsonl") {
  const std::string base = "version: 1\nname: t\nmodel: m\nprompts: " + prompts + "\n";
  auto scenario = parse_scenario(base + more, path, {});
  EXPECT_TRUE(scenario) << scenario.error().text();
  return scenario ? scenario.value() : Scenario{};
}

Matrix cells_of(const std::string& more) {
  auto matrix = expand(scenario_with(more), false);
  EXPECT_TRUE(matrix) << matrix.error().text();
  return matrix ? matrix.value() : Matrix{};
}

std::string expand_error(const std::string& more, bool allow_large = false) {
  const auto matrix = expand(scenario_with(more), allow_large);
  return matrix ? "no error" : matrix.error().text();
}

/// Names without hashes.
std::vector<std::string> names_of(const Matrix& matrix) {
  std::vector<std::string> names;
  for (const Cell& cell : matrix.cells)
    names.push_back(cell.name().substr(2, cell.name().find(' ') - 2));
  return names;
}

std::map<std::string, std::string> hashes_by_name(const Matrix& matrix) {
  std::map<std::string, std::string> hashes;
  for (const Cell& cell : matrix.cells)
    hashes[cell.name().substr(0, cell.name().find(' '))] = cell.hash;
  return hashes;
}

using Names = std::vector<std::string>;

TEST(Matrix, ProductInFileOrderFirstAxisSlowest) {
  EXPECT_EQ(
      names_of(cells_of("axes: {cache: [on, off], batch: [3, 1]}\n")),
      (Names{"batch=3,cache=on", "batch=1,cache=on", "batch=3,cache=off", "batch=1,cache=off"}));
  const Matrix one = cells_of("");
  ASSERT_EQ(one.cells.size(), 1u);
  for (const Axis& axis : all_axes()) {
    const bool has = one.cells[0].axes.count(axis.name) != 0;
    EXPECT_EQ(has, axis.belongs_to(AxisScope::model)) << axis.name;
    const std::string usual = axis.name == "model" ? "m" : axis.usual;  // what the key says
    EXPECT_EQ(has ? one.cells[0].value(axis.name) : usual, usual);
  }
}

TEST(Matrix, ZipRunsInLockStep) {
  EXPECT_EQ(names_of(cells_of("axes: {cache: [on, off]}\nzip: [{batch: [1, 3], gpus: [4, 2]}]\n")),
            (Names{"batch=1,cache=on,gpus=4", "batch=3,cache=on,gpus=2", "batch=1,cache=off,gpus=4",
                   "batch=3,cache=off,gpus=2"}));
}

TEST(Matrix, ExcludeMatchesAsFiltersDo) {
  EXPECT_EQ(
      names_of(cells_of("axes: {engine: [reference, {openblas: Zen}], gpus: [1, 4]}\n"
                        "exclude: [{engine: openblas, gpus: [2, 4]}]\n")),
      (Names{"engine=reference,gpus=1", "engine=reference,gpus=4", "engine=openblas:Zen,gpus=1"}));
  EXPECT_EQ(names_of(cells_of("axes: {cache: [on, {paged: 16}, {paged: 8}, off]}\n"
                              "exclude: [{cache: paged}]\n")),
            (Names{"cache=on", "cache=off"}));
  EXPECT_EQ(expand_error("axes: {gpus: [1, 4]}\nexclude: [{gpus: 8, cache: on}]\n"),
            "t.yaml: exclude {cache: on, gpus: 8} matches no cell");
  EXPECT_EQ(expand_error("axes: {gpus: [1, 4]}\nexclude: [{cache: on}]\n"),
            "t.yaml: exclude leaves no cell");
}

TEST(Matrix, IncludeMakesNewCellsOrExtends) {
  const std::string axes = "axes: {isa: [avx2, avx512], precision: [fp32, bf16]}\n";
  EXPECT_EQ(names_of(cells_of(axes + "include: [{isa: scalar, precision: [fp32, bf16]}]\n")),
            (Names{"isa=avx2,precision=fp32", "isa=avx2,precision=bf16",
                   "isa=avx512,precision=fp32", "isa=avx512,precision=bf16",
                   "isa=scalar,precision=fp32", "isa=scalar,precision=bf16"}));
  EXPECT_EQ(names_of(cells_of(axes + "include: [{precision: bf16, threads: 2}]\n")),
            (Names{"isa=avx2,precision=fp32", "isa=avx2,precision=bf16,threads=2",
                   "isa=avx512,precision=fp32", "isa=avx512,precision=bf16,threads=2"}));
  // A later entry may overwrite what an earlier one added, never what the product gave.
  EXPECT_EQ(names_of(cells_of("axes: {batch: [1]}\ninclude: [{threads: 2}, {threads: 3}]\n")),
            Names{"batch=1,threads=3"});
  EXPECT_EQ(expand_error(axes + "include: [{precision: bf16}]\n"),
            "t.yaml: include {precision: bf16} adds nothing");
  EXPECT_NE(expand_error("axes: {isa: [avx2]}\ninclude: [{isa: scalar}, {isa: scalar, batch: 1}]\n")
                .find("t.yaml: two cells are the same: t%isa=scalar /"),
            std::string::npos);
}

TEST(Matrix, SizeGuardSaysTheNumber) {
  const std::string axes = "axes: {gpus: [1, 2, 4, 8], batch: [1, 2, 3], cache: [on, off]}\n";
  EXPECT_EQ(expand_error(axes + "max_cells: 23\n"),
            "t.yaml: 24 cells are more than the limit of 23; raise max_cells, or allow it with "
            "--allow-large");
  EXPECT_EQ(expand_error(axes + "max_cells: 24\n"), "no error");
  EXPECT_EQ(expand_error(axes + "max_cells: 23\n", true), "no error");
  EXPECT_EQ(expand_error(axes + "max_cells: 23\nexclude: [{gpus: 8}]\n"), "no error");
  std::string wide = "axes: {batch: [1";
  for (int i = 2; i <= 1200; ++i) wide += ", " + std::to_string(i);
  wide += "], threads: [1";
  for (int i = 2; i <= 1000; ++i) wide += ", " + std::to_string(i);
  EXPECT_EQ(
      expand_error(wide + "]}\n", true),
      "t.yaml: 1,200,000 cells are more than the limit of 1,000,000; name fewer values, or use "
      "pairwise");
}

TEST(Matrix, CountsProductsThatNoNumberHoldsAndBuildsNothingBeforeTheGuard) {
  const auto wide = [](const char* axis, int values) {
    std::string out = std::string(axis) + ": [1";
    for (int i = 2; i <= values; ++i) out += ", " + std::to_string(i);
    return out + "]";
  };
  const std::string many = "axes: {" + wide("batch", 4000) + ", " + wide("threads", 1000) +
                           ", precision: [fp32, bf16], gpus: [1, 2, 4, 8], "
                           "cache: [on, off, prefix], teacher_forced: [true, false]";
  EXPECT_EQ(
      expand_error(many + "}\n"),
      "t.yaml: 192,000,000 cells are more than the limit of 4,096; raise max_cells, or allow it "
      "with --allow-large");
  std::string pages = ", kv: [exact";
  for (int i = 1; i <= 4000; ++i) pages += ", {tova: " + std::to_string(i) + "}";
  EXPECT_NE(expand_error(many + pages + "]}\n").find("768,192,000,000 cells"), std::string::npos);
}

TEST(Matrix, APolicyThatWaitsForThePromptSharesNoPrefix) {
  const std::string axes = "axes: {kv: [exact, q8_0, {tova: 9}], cache: [on, prefix]}\n";
  const std::string error = expand_error(axes);
  EXPECT_NE(error.find("cache=prefix,kv=tova:9"), std::string::npos) << error;
  EXPECT_EQ(error.substr(0, 7), "t.yaml:");
  EXPECT_EQ(names_of(cells_of(axes + "exclude: [{kv: tova, cache: prefix}]\n")).size(), 5u);
}

TEST(Matrix, RulesThatSelectNothingAreErrors) {
  EXPECT_EQ(expand_error("expect: [{same_bits: {where: batch>1, across: [cache]}}]\n"),
            "t.yaml:5:11: same_bits across cache where batch>1: selects no cell");
  EXPECT_EQ(expand_error("xfail: [{where: batch>1, reason: x}]\n"),
            "t.yaml:5:9: xfail where batch>1: selects no cell");
}

TEST(MatrixHash, IsStableWhenValuesAreAddedOrReorderedAndFilesRenamed) {
  const auto before = hashes_by_name(cells_of("axes: {batch: [1, 3], cache: [on, off]}\n"));
  const auto after = hashes_by_name(
      cells_of("axes: {cache: [off, {paged: 16}, on], batch: [8, {size: 3}, 1]}\ntags: [x]\n"
               "observe: ops\nmax_cells: 99\nexpect: [{differ: {across: [batch]}}]\n"));
  EXPECT_EQ(before.size(), 4u);
  EXPECT_EQ(after.size(), 9u);
  for (const auto& [name, hash] : before) EXPECT_EQ(after.at(name), hash) << name;
  const Scenario renamed = scenario_with("axes: {batch: [1, 3], cache: [on, off]}\n",
                                         "elsewhere/u.yaml", "other/q.jsonl");
  EXPECT_EQ(hashes_by_name(*expand(renamed, false)), before);
}

TEST(MatrixHash, AxisAtItsDefaultIsNoMeaning) {
  const Matrix plain = cells_of("axes: {batch: [3]}\n");
  const Matrix named = cells_of(
      "axes: {batch: [3], cache: [on], gpus: [1], threads: [1], isa: [auto], device: [cpu],\n"
      "       engine: [reference], precision: [fp32], teacher_forced: [false]}\n"
      "decode: {strategy: greedy, max_new_tokens: 16, ignore_eos: false}\n");
  EXPECT_EQ(plain.cells[0].hash, named.cells[0].hash);
  EXPECT_NE(plain.cells[0].name(), named.cells[0].name());
}

TEST(MatrixHash, EveryPartOfTheMeaningChangesIt) {
  std::set<std::string> hashes = {cells_of("").cells[0].hash};
  const std::vector<std::string> changes = {"axes: {engine: [openblas]}\n",
                                            "axes: {device: [cuda]}\n",
                                            "axes: {isa: [scalar]}\n",
                                            "axes: {precision: [bf16]}\n",
                                            "axes: {batch: [2]}\n",
                                            "axes: {gpus: [2]}\n",
                                            "axes: {cache: [{chunked: 2}]}\n",
                                            "axes: {threads: [2]}\n",
                                            "axes: {cache: [{paged: 2}]}\n",
                                            "axes: {teacher_forced: [true]}\n",
                                            "decode: {max_new_tokens: 2}\n",
                                            "decode: {ignore_eos: true}\n",
                                            "decode: {strategy: sample}\n",
                                            "decode: {strategy: sample, seed: 2}\n",
                                            "decode: {strategy: sample, temperature: 0.5}\n",
                                            "decode: {strategy: sample, top_k: 2}\n",
                                            "decode: {strategy: sample, top_p: 0.5}\n"};
  for (const std::string& change : changes)
    EXPECT_TRUE(hashes.insert(cells_of(change).cells[0].hash).second) << change;
  for (const char* prompts : {"{file: p, take: 2}", "{file: p, skip: 2}", "{file: p, pad_to: 2}"}) {
    const auto matrix = expand(scenario_with("", "t.yaml", prompts), false);
    EXPECT_TRUE(hashes.insert(matrix->cells[0].hash).second) << prompts;
  }
  Scenario other = scenario_with("");
  other.name = "u";
  EXPECT_TRUE(hashes.insert(expand(other, false)->cells[0].hash).second);
  other.name = "t";
  other.model = "n";
  EXPECT_TRUE(hashes.insert(expand(other, false)->cells[0].hash).second);
  other.model = "some/folder/m/";
  EXPECT_FALSE(hashes.insert(expand(other, false)->cells[0].hash).second);
}

// The written meaning is a contract with every database: this one never changes.
TEST(MatrixHash, MeaningOfOneCell) {
  const Scenario scenario = scenario_with(
      "axes: {batch: [{size: 3, order: reversed}], cache: [off]}\ndecode: {ignore_eos: true}\n");
  const Matrix matrix = *expand(scenario, false);
  EXPECT_EQ(cell_meaning(scenario, matrix.cells[0]),
            "isobit cell 1\nscenario=t\nmodel=m\naxis.batch=order:reversed+size:3\naxis.cache=off\n"
            "decode.ignore_eos=true\n");
  EXPECT_EQ(matrix.cells[0].name(),
            "t%batch=order:reversed+size:3,cache=off /" + matrix.cells[0].hash.substr(0, 8));
  EXPECT_EQ(matrix.cells[0].hash.size(), 16u);
}

/// Every pair of values of two factors that occurs in `all` occurs in `chosen`.
void expect_pairs_covered(const std::vector<std::vector<int>>& all,
                          const std::vector<int>& chosen) {
  using Pair = std::array<std::size_t, 4>;
  std::set<Pair> wanted, got;
  const auto add = [](const std::vector<int>& row, std::set<Pair>& pairs) {
    for (std::size_t i = 0; i < row.size(); ++i)
      for (std::size_t j = i + 1; j < row.size(); ++j)
        pairs.insert({i, j, static_cast<std::size_t>(row[i]), static_cast<std::size_t>(row[j])});
  };
  for (const std::vector<int>& row : all) add(row, wanted);
  for (const int index : chosen) add(all[static_cast<std::size_t>(index)], got);
  EXPECT_EQ(got, wanted);
}

TEST(Pairwise, CoversEveryPairOfRandomProductsWithHoles) {
  std::mt19937 random(20261122);  // printed by being written here
  for (int round = 0; round < 40; ++round) {
    std::vector<int> levels(2 + random() % 4);
    for (int& count : levels) count = static_cast<int>(1 + random() % 5);
    std::vector<std::vector<int>> rows;
    std::vector<int> row(levels.size(), 0);
    while (true) {
      if (random() % 8 != 0) rows.push_back(row);
      std::size_t f = row.size();
      while (f > 0 && ++row[f - 1] == levels[f - 1]) row[--f] = 0;
      if (f == 0) break;
    }
    const std::vector<int> chosen = pairwise_subset(rows);
    EXPECT_TRUE(std::is_sorted(chosen.begin(), chosen.end()));
    EXPECT_EQ(chosen, pairwise_subset(rows));
    expect_pairs_covered(rows, chosen);
  }
}

TEST(Pairwise, OneFactorKeepsEveryValueOnce) {
  EXPECT_EQ(pairwise_subset({{0}, {1}, {1}, {2}}), (std::vector<int>{0, 1, 3}));
  EXPECT_TRUE(pairwise_subset({}).empty());
}

std::set<std::string> value_pairs(const Matrix& matrix, const Names& axes,
                                  const std::string& part) {
  std::set<std::string> pairs;
  for (const Cell& cell : matrix.cells)
    for (const std::string& a : axes)
      for (const std::string& b : axes)
        if (a < b)
          pairs.insert((part.empty() ? "" : cell.value(part) + "/") + a + cell.value(a) + b +
                       cell.value(b));
  return pairs;
}

TEST(Pairwise, ScenarioKeepsIncludedCellsAndPairs) {
  const std::string axes =
      "axes: {isa: [avx2, avx512], batch: [1, 3, 8], cache: [on, off, prefix],\n"
      "       precision: [fp32, bf16], threads: [1, 2]}\nexclude: [{batch: 8, cache: off}]\n";
  const std::string scalar = "include: [{isa: scalar, precision: [fp32, bf16]}]\n";
  const Matrix all = cells_of(axes + scalar);
  const Matrix some = cells_of(axes + scalar + "pairwise: true\n");
  const Matrix most = cells_of(axes + scalar + "pairwise: {per: [precision]}\n");
  EXPECT_EQ(all.cells.size(), 66u);
  EXPECT_LT(some.cells.size(), 20u);
  const Names names = {"isa", "batch", "cache", "precision", "threads"};
  EXPECT_EQ(value_pairs(some, names, ""), value_pairs(all, names, ""));
  const Names inner = {"isa", "batch", "cache", "threads"};
  EXPECT_EQ(value_pairs(most, inner, "precision"), value_pairs(all, inner, "precision"));
  for (const Matrix* matrix : {&some, &most}) {
    EXPECT_EQ(matrix->cells.back().value("isa"), "scalar");
    const auto full = hashes_by_name(all), reduced = hashes_by_name(*matrix);
    for (const auto& [name, hash] : reduced) EXPECT_EQ(full.at(name), hash);
  }
}

TEST(Groups, EqualOnEveryAxisButAcross) {
  const Scenario scenario = scenario_with(
      "axes: {engine: [reference, openblas], precision: [fp32, bf16], batch: [1, 3]}\n"
      "include: [{engine: reference, precision: fp32, isa: scalar, batch: 8}]\n"
      "expect:\n"
      "  - same_bits: {where: engine=reference, across: [batch, isa]}\n"
      "  - differ: {where: engine=openblas, across: [batch, precision]}\n");
  const Matrix matrix = *expand(scenario, false);
  const std::vector<Group> groups = groups_of(scenario, matrix);
  ASSERT_EQ(groups.size(), 3u);
  EXPECT_EQ(groups[0].key, "engine=reference,precision=fp32");
  EXPECT_EQ(groups[0].cells, (std::vector<int>{0, 1, 8}));
  EXPECT_EQ(groups[1].key, "engine=reference,precision=bf16");
  EXPECT_EQ(groups[1].cells, (std::vector<int>{2, 3}));
  EXPECT_EQ(groups[2].rule, 1);
  EXPECT_EQ(groups[2].key, "engine=openblas,isa=auto");
  EXPECT_EQ(groups[2].cells, (std::vector<int>{4, 5, 6, 7}));
}

TEST(Groups, CountWhatWasNotSelected) {
  const Scenario scenario = scenario_with(
      "axes: {precision: [fp32, bf16], batch: [1, 3], gpus: [1, 2]}\n"
      "expect: [{same_bits: {across: [batch, gpus]}}]\n");
  Matrix matrix = *expand(scenario, false);
  const std::vector<Group> whole = groups_of(scenario, matrix);
  ASSERT_EQ(whole.size(), 2U);
  EXPECT_EQ(whole[0].unselected, 0);
  EXPECT_EQ(whole[0].ranges, (std::set<std::string>{"batch", "gpus"}));
  // Left: the batch of 3 in fp32.
  matrix.unselected = {matrix.cells.begin(), matrix.cells.end()};
  matrix.cells = {matrix.unselected[2], matrix.unselected[3]};
  matrix.unselected.erase(matrix.unselected.begin() + 2, matrix.unselected.begin() + 4);
  for (int i = 0; i < 2; ++i) matrix.cells[std::size_t(i)].index = i;
  const std::vector<Group> cut = groups_of(scenario, matrix);
  ASSERT_EQ(cut.size(), 1U) << "a group without a selected cell is none";
  EXPECT_EQ(cut[0].key, whole[0].key);
  EXPECT_EQ(cut[0].cells, (std::vector<int>{0, 1}));
  EXPECT_EQ(cut[0].unselected, 2);
  EXPECT_EQ(cut[0].ranges, whole[0].ranges);
}

TEST(Groups, RangeOverAnAxisThatVariesInNoneOfThem) {
  // The batch changes with the precision, which is not in across.
  const Scenario scenario = scenario_with(
      "zip: [{precision: [fp32, bf16], batch: [1, 3]}]\naxes: {cache: [on, off]}\n"
      "expect: [{same_bits: {across: [batch, cache]}}]\n");
  const Matrix matrix = *expand(scenario, false);
  for (const Group& group : groups_of(scenario, matrix)) {
    EXPECT_EQ(group.ranges, (std::set<std::string>{"batch", "cache"})) << group.key;
  }
  // One that varies in some group is asked of the groups that have it.
  const Scenario some = scenario_with(
      "axes: {precision: [fp32, bf16], cache: [on, off]}\n"
      "include: [{precision: fp32, cache: on, batch: 3}, {precision: fp32, batch: 8, cache: off, "
      "threads: 2}]\nexpect: [{same_bits: {across: [batch, cache, threads]}}]\n");
  const Matrix cells = *expand(some, false);
  const std::vector<Group> groups = groups_of(some, cells);
  ASSERT_EQ(groups.size(), 2U);
  EXPECT_EQ(groups[0].ranges.count("batch"), 1U);
  EXPECT_EQ(groups[1].ranges, std::set<std::string>{"cache"});
}

TEST(Groups, CellsThatShareAGroupStayTogether) {
  const Scenario scenario = scenario_with(
      "axes: {precision: [fp32, bf16], batch: [1, 3], gpus: [1, 2]}\n"
      "expect:\n"
      "  - same_bits: {across: [batch]}\n"
      "  - same_bits: {where: precision=fp32, across: [gpus]}\n"
      "  - differ: {across: [precision]}\n");
  const Matrix matrix = *expand(scenario, false);
  std::vector<Group> groups = groups_of(scenario, matrix);
  std::erase_if(groups, [](const Group& group) { return group.rule == 2; });
  EXPECT_EQ(united(groups, matrix), (std::vector<std::vector<int>>{{0, 1, 2, 3}, {4, 6}, {5, 7}}));
  EXPECT_EQ(united(groups_of(scenario, matrix), matrix).size(), 1u) << "the control joins them all";
  EXPECT_EQ(united({}, matrix).size(), matrix.cells.size());
}

TEST(ClassAxes, ReferenceDropsLosslessAxes) {
  const std::string lossless =
      "device: [cpu], isa: [avx2], threads: [2], batch: [3], gpus: [4], cache: [off]";
  EXPECT_EQ(class_axes(cells_of("axes: {" + lossless + "}\n").cells[0]),
            "engine=reference\nprecision=fp32\n");
  EXPECT_EQ(class_axes(cells_of("axes: {precision: [bf16], teacher_forced: [true]}\n").cells[0]),
            "engine=reference\nprecision=bf16\nteacher_forced=true\n");
  EXPECT_EQ(
      class_axes(cells_of("axes: {engine: [openblas:Zen], " + lossless + "}\n").cells[0]),
      "batch=3\ncache=off\nengine=openblas:Zen\ngpus=4\nisa=avx2\nprecision=fp32\nthreads=2\n");
}

TEST(ClassAxes, SchedulesAreAClassForEachNumberOfRanksAndByRowsForEachCompany) {
  const std::string lossless =
      "threads: [2], batch: [3], gpus: [4], cache: [off], kv: [{residual: embedding, budget: 8}]";
  EXPECT_EQ(class_axes(cells_of("axes: {gemm: [{split_k: 2}], " + lossless + "}\n").cells[0]),
            "engine=reference\ngemm=split_k:2\ngpus=4\nprecision=fp32\n");
  EXPECT_EQ(class_axes(cells_of("axes: {gemm: [{by_rows: {1: {split_k: 4}, 9: {split_k: 1}}}], " +
                                lossless + "}\n")
                           .cells[0]),
            "batch=3\ncache=off\nengine=reference\n"
            "gemm=by_rows:(1:(split_k:4)+9:(split_k:1))\ngpus=4\n"
            "kv=residual:embedding+budget:8\nprecision=fp32\n");
  EXPECT_EQ(class_axes(cells_of("axes: {attention: [{flash: 64, splits: 2}], threads: [2], "
                                "batch: [3], gpus: [4], cache: [off]}\n")
                           .cells[0]),
            "attention=flash:64+splits:2\nengine=reference\nprecision=fp32\n");
}

TEST(Requirements, ApplyToValuesAndToAxesOffTheirDefault) {
  const Scenario scenario = scenario_with(
      "axes: {engine: [reference, openblas:Zen], gpus: [1, 2]}\n"
      "requires: {openblas: openblas, gpus: real}\n");
  const Matrix matrix = *expand(scenario, false);
  std::vector<std::size_t> counts;
  for (const Cell& cell : matrix.cells) counts.push_back(requirements_of(scenario, cell).size());
  EXPECT_EQ(counts, (std::vector<std::size_t>{0, 1, 1, 2}));
  EXPECT_EQ(requirements_of(scenario, matrix.cells[2])[0].what, "openblas");
}

TEST(ShippedScenarios, ExpandAndAskAQuestion) {
  const std::filesystem::path folder = std::filesystem::path(ISOBIT_SOURCE_DIR) / "scenarios";
  std::set<std::string> names;
  std::map<std::string, std::size_t> sizes;
  for (const auto& file : std::filesystem::recursive_directory_iterator(folder)) {
    if (file.path().extension() != ".yaml") continue;
    if (std::filesystem::relative(file.path(), folder).string().rfind("models", 0) == 0) continue;
    const auto scenario = load_scenario(file.path().string(), {});
    ASSERT_TRUE(scenario) << scenario.error().text();
    const auto matrix = expand(*scenario, false);
    ASSERT_TRUE(matrix) << matrix.error().text();
    EXPECT_FALSE(scenario->question.empty()) << file.path();
    EXPECT_FALSE(scenario->expect.empty()) << file.path();
    EXPECT_TRUE(names.insert(scenario->name).second) << "two scenarios named " << scenario->name;
    sizes[scenario->name] = matrix->cells.size();
    for (const Group& group : groups_of(*scenario, *matrix))
      EXPECT_GE(group.cells.size(), 2u) << scenario->name << " " << group.key;
  }
  EXPECT_GE(sizes["equality-full"], 3000u);
  EXPECT_GE(sizes["equality-smollm2"], 300u);
  for (const char* name : {"smoke", "batch", "gpus", "cache", "precision", "threads", "vendor"})
    EXPECT_GE(sizes[name], 2u) << name;
}

}  // namespace
}  // namespace isobit
