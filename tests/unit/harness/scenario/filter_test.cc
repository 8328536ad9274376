// The filter language: what it selects, and where its errors are.
#include "harness/scenario/filter.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "harness/axes/axes.h"

namespace isobit {
namespace {

/// A subject with every axis at its default but those given.
struct FakeCell {
  AxisPoint axes;
  std::vector<std::string> tags;

  [[nodiscard]] bool selected_by(const std::string& expression) const {
    const auto filter = Filter::parse(expression, "-k");
    EXPECT_TRUE(filter) << filter.error().text();
    Filter::Subject subject;
    subject.axis = [this](const std::string& axis) { return &axes.at(axis); };
    subject.has_tag = [this](const std::string& tag) {
      return std::find(tags.begin(), tags.end(), tag) != tags.end();
    };
    subject.name = "smoke%batch=3,cache=off /3fa91c0d";
    return filter && filter->matches(subject);
  }
};

FakeCell cell_with(const std::map<std::string, std::string>& given) {
  FakeCell cell;
  for (const Axis& axis : all_axes()) cell.axes[axis.name] = usual_value(axis.name);
  for (const auto& [axis, text] : given) cell.axes[axis] = axis_value(axis, text).value();
  return cell;
}

std::string filter_error(const std::string& expression) {
  const auto filter = Filter::parse(expression, "-k");
  return filter ? "no error" : filter.error().text();
}

TEST(Filter, DefaultMatchesEverything) {
  EXPECT_TRUE(Filter().empty());
  EXPECT_TRUE(Filter().matches({}));
  EXPECT_EQ(Filter().text(), "");
}

TEST(Filter, Equality) {
  const FakeCell cell = cell_with({{"precision", "bf16"}, {"cache", "chunked:17"}, {"batch", "3"}});
  EXPECT_TRUE(cell.selected_by("precision=bf16"));
  EXPECT_TRUE(cell.selected_by("precision == bf16"));
  EXPECT_FALSE(cell.selected_by("precision!=bf16"));
  EXPECT_FALSE(cell.selected_by("precision=fp16"));
  EXPECT_TRUE(cell.selected_by("cache=chunked:17"));
  EXPECT_TRUE(cell.selected_by("cache=chunked"));
  EXPECT_FALSE(cell.selected_by("cache=chunked:1"));
  EXPECT_FALSE(cell.selected_by("cache=paged"));
  EXPECT_TRUE(cell.selected_by("cache != off"));
  EXPECT_TRUE(cell.selected_by("engine=reference and isa=auto and teacher_forced=no"));
  EXPECT_TRUE(cell.selected_by("batch='3'"));
  EXPECT_TRUE(cell_with({}).selected_by("cache=yes and cache=on"));
}

TEST(Filter, PartsOfMaps) {
  const FakeCell cell =
      cell_with({{"batch", "size:3+order:reversed"}, {"engine", "openblas:Haswell"}});
  EXPECT_TRUE(cell.selected_by("batch=3"));
  EXPECT_TRUE(cell.selected_by("batch=order:reversed"));
  EXPECT_TRUE(cell.selected_by("batch=order:reversed+size:3"));
  EXPECT_TRUE(cell.selected_by("batch=size:3+order:reversed"));
  EXPECT_FALSE(cell.selected_by("batch=order:shuffled or batch=1"));
  EXPECT_TRUE(cell.selected_by("engine=openblas"));
  EXPECT_TRUE(cell.selected_by("engine=openblas:HASWELL"));
  EXPECT_FALSE(cell.selected_by("engine=openblas:Zen"));
  EXPECT_FALSE(cell_with({}).selected_by("engine=openblas"));
  const FakeCell lt = cell_with({{"engine", "cublaslt:66+cluster:2+tile:20"}});
  EXPECT_TRUE(lt.selected_by("engine=cublaslt and engine=cublaslt:66"));
  EXPECT_TRUE(lt.selected_by("engine=cublaslt:66+tile:20+cluster:2"));
  EXPECT_FALSE(lt.selected_by("engine=cublas or engine=cublaslt:20"));
}

TEST(Filter, Order) {
  const FakeCell cell = cell_with({{"batch", "order:reversed+size:8"}, {"gpus", "4"}});
  EXPECT_TRUE(cell.selected_by("batch>3 and batch>=8 and batch<=8 and batch<10"));
  EXPECT_FALSE(cell.selected_by("batch>8"));
  EXPECT_FALSE(cell.selected_by("batch<8"));
  EXPECT_TRUE(cell.selected_by("gpus>3"));  // 3 is no value of the axis, yet a bound
  EXPECT_FALSE(cell.selected_by("gpus>=10"));
}

TEST(Filter, ListsLogicTagsNames) {
  FakeCell cell = cell_with({{"cache", "paged:16"}});
  cell.tags = {"slow"};
  EXPECT_TRUE(cell.selected_by("cache in (on, paged:16)"));
  EXPECT_TRUE(cell.selected_by("cache in (paged)"));
  EXPECT_FALSE(cell.selected_by("cache in (on,off)"));
  EXPECT_FALSE(cell.selected_by("not cache in (paged)"));
  EXPECT_TRUE(cell.selected_by("tag(slow)"));
  EXPECT_FALSE(cell.selected_by("not tag(slow)"));
  EXPECT_TRUE(cell.selected_by("not tag(fast)"));
  EXPECT_TRUE(cell.selected_by("name(smoke*) and name('*cache=off /3fa9?*?')"));
  EXPECT_FALSE(cell.selected_by("name(smoke)"));
  EXPECT_TRUE(cell.selected_by("name(*********batch*3*)"));
  // and binds closer than or; not closest.
  EXPECT_TRUE(cell.selected_by("tag(slow) or tag(a) and tag(b)"));
  EXPECT_FALSE(cell.selected_by("(tag(slow) or tag(a)) and tag(b)"));
  EXPECT_TRUE(cell.selected_by("not tag(a) or tag(b)"));
  EXPECT_FALSE(cell.selected_by("not (not tag(a) or tag(b))"));
  EXPECT_TRUE(cell.selected_by("not not tag(slow)"));
}

TEST(Filter, ErrorsNameTheColumn) {
  EXPECT_EQ(filter_error(""), "-k, column 1: the filter is empty");
  EXPECT_EQ(filter_error("  "), "-k, column 3: the filter is empty");
  EXPECT_EQ(filter_error("precison=bf16"),
            "-k, column 1: unknown axis \"precison\"; did you mean \"precision\"?");
  EXPECT_EQ(filter_error("batch>1 and precision=bf61"),
            "-k, column 23: unknown value \"bf61\" for axis precision; did you mean \"bf16\"?");
  EXPECT_EQ(filter_error("cache in (on, ofg)"),
            "-k, column 15: unknown value \"ofg\" for axis cache; did you mean \"off\"?");
  EXPECT_EQ(filter_error("batch"),
            "-k, column 6: expected =, !=, <, <=, >, >= or in after batch, got the end");
  EXPECT_EQ(filter_error("batch ! 3"),
            "-k, column 7: expected =, !=, <, <=, >, >= or in after batch, got \"!\"");
  EXPECT_EQ(filter_error("batch>"), "-k, column 7: expected a value of batch, got the end");
  EXPECT_EQ(filter_error("batch>order:reversed"),
            "-k, column 7: expected a number after >, got \"order:reversed\"");
  EXPECT_EQ(filter_error("precision>bf16"),
            "-k, column 10: axis precision has no order; use = or in");
  EXPECT_EQ(filter_error("batch=1 adn gpus=2"),
            "-k, column 9: expected and or or before \"adn\"; did you mean \"and\"?");
  EXPECT_EQ(filter_error("(batch=1"), "-k, column 9: expected \")\", got the end");
  EXPECT_EQ(filter_error("batch=1)"), "-k, column 8: \")\" without \"(\"");
  EXPECT_EQ(filter_error("batch=1 and"),
            "-k, column 12: expected an axis, tag(…), name(…) or not, got the end");
  EXPECT_EQ(filter_error("batch='1"), "-k, column 7: a quote is not closed");
  EXPECT_EQ(filter_error("tagg(x)"),
            "-k, column 1: unknown function \"tagg\"; did you mean \"tag\"?");
  EXPECT_EQ(filter_error("tag()"), "-k, column 5: expected a word in tag(…), got \")\"");
  EXPECT_EQ(filter_error("cache in on"), "-k, column 10: expected \"(\", got \"on\"");
  EXPECT_EQ(filter_error("cache in ()"), "-k, column 11: expected a value of cache, got \")\"");
}

TEST(Filter, DepthAndLengthAreLimited) {
  const std::string deep = std::string(5000, '(') + "batch=1" + std::string(5000, ')');
  EXPECT_NE(filter_error(deep).find("nested too deeply"), std::string::npos);
  std::string nots;
  for (int i = 0; i < 3000; ++i) nots += "not ";
  EXPECT_NE(filter_error(nots + "batch=1").find("nested too deeply"), std::string::npos);
  EXPECT_EQ(filter_error(std::string(1 << 20, 'a')), "-k, column 1: the filter is too long");
  std::string wide = "batch=1";
  for (int i = 0; i < 1000; ++i) wide += " or batch=1";
  EXPECT_TRUE(cell_with({}).selected_by(wide));
}

}  // namespace
}  // namespace isobit
