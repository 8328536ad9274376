// Checkers of IFEval: hand-made texts, and for every instruction of the public set's lines replies
// that must pass and that must fail, made from the arguments by rules of their own.
#include "harness/score/ifeval.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <set>

#include "harness/scenario/prompts.h"

namespace isobit {
namespace {

Instruction instruction(const std::string& type) {
  Instruction out;
  out.type = type;
  return out;
}
Instruction with(const std::string& type, std::map<std::string, std::int64_t> numbers,
                 std::map<std::string, std::string> texts = {}) {
  Instruction out = instruction(type);
  out.numbers = std::move(numbers);
  out.texts = std::move(texts);
  return out;
}

std::string times(std::int64_t n, const std::string& text) {
  std::string out;
  for (std::int64_t i = 0; i < n; ++i) out += text;
  return out;
}
std::string upper(std::string text) {
  for (char& c : text) c = char(std::toupper(static_cast<unsigned char>(c)));
  return text;
}

/// Replies that follow an instruction, and that do not.
struct Replies {
  std::vector<std::string> pass, fail;
};
/// Of a count and a relation; `more` repeats what is counted.
Replies counted(std::int64_t n, const std::string& relation,
                const std::function<std::string(std::int64_t)>& more) {
  const std::string below = more(n - 1), at = more(n);
  if (relation == "less than") return {{below}, {at, more(n + 5)}};
  return {{at, more(n + 5)}, {below}};
}

constexpr const char* kFiller = "0 1";  // no letter, keyword or mark of any instruction

Replies of_keywords(const Instruction& i) {
  if (i.type == "keywords:existence") {
    std::string all = kFiller;
    const auto& words = i.lists.at("keywords");
    for (const std::string& word : words) all += " " + upper(word);
    std::string but_one = kFiller;
    for (std::size_t k = 1; k < words.size(); ++k) but_one += " " + words[k];
    Replies out{{all}, {kFiller}};
    if (upper(but_one).find(upper(words[0])) == std::string::npos) out.fail.push_back(but_one);
    return out;
  }
  if (i.type == "keywords:frequency") {
    return counted(i.numbers.at("frequency"), i.texts.at("relation"), [&](std::int64_t n) {
      return kFiller + times(n, " " + upper(i.texts.at("keyword")));
    });
  }
  if (i.type == "keywords:letter_frequency") {
    return counted(i.numbers.at("let_frequency"), i.texts.at("let_relation"),
                   [&](std::int64_t n) { return kFiller + times(n, upper(i.texts.at("letter"))); });
  }
  Replies out{{kFiller}, {}};
  for (const std::string& word : i.lists.at("forbidden_words")) {
    out.fail.push_back(std::string(kFiller) + " " + upper(word) + ".");
    out.pass.push_back("x" + word + "x");
  }
  return out;
}

Replies of_lengths(const Instruction& i) {
  if (i.type == "length_constraints:number_words") {
    return counted(i.numbers.at("num_words"), i.texts.at("relation"),
                   [&](std::int64_t n) { return n == 0 ? "." : times(n, "naïve, "); });
  }
  const std::int64_t n = i.numbers.at("num_paragraphs");
  if (i.type == "length_constraints:number_paragraphs") {
    const auto made = [](std::int64_t count) {
      return "a b" + times(count - 1, "\n\n***\n\nc\n\nd");
    };
    return {{made(n), "***\n" + made(n) + "\n***"}, {made(n + 1), made(n) + "***\n***" + "x"}};
  }
  const auto made = [&](const std::string& word, std::int64_t count) {
    std::string out;
    for (std::int64_t p = 1; p <= count; ++p) {
      out += p == 1 ? "" : "\n\n";
      out += p == i.numbers.at("nth_paragraph") ? word + " more" : "0 text";
    }
    return out;
  };
  const std::string& word = i.texts.at("first_word");
  return {{made(word, n), made("\"" + upper(word) + ",\"", n)},
          {made(word, n + 1), made("0", n), made(word + "x", n)}};
}

Replies of_format(const Instruction& i) {
  const auto at_least = [&](const char* name, const std::string& piece) {
    return counted(i.numbers.at(name), "at least",
                   [&](std::int64_t n) { return kFiller + times(n, piece); });
  };
  if (i.type == "detectable_content:number_placeholders")
    return at_least("num_placeholders", " [your name]");
  if (i.type == "detectable_format:number_highlighted_sections") {
    Replies out = at_least("num_highlights", " *a b*");
    const std::int64_t n = i.numbers.at("num_highlights");
    out.pass.push_back(times(n, "**a** "));
    out.fail.push_back(times(n, "* \n*"));
    return out;
  }
  if (i.type == "detectable_format:multiple_sections")
    return at_least("num_sections", "\n" + i.texts.at("section_spliter") + " 1\ntext");
  if (i.type == "detectable_content:postscript") {
    const std::string& marker = i.texts.at("postscript_marker");
    return {{"Dear.\n" + marker + " more", marker}, {"Dear all", "p s"}};
  }
  if (i.type == "detectable_format:number_bullet_lists") {
    const std::int64_t n = i.numbers.at("num_bullets");
    return {{"List\n" + times(n, "* a\n"), times(n, "  - a\n")},
            {times(n + 1, "* a\n"), "List" + times(n - 1, "\n- a"), times(n, "** a\n")}};
  }
  if (i.type == "detectable_format:constrained_response")
    return {{"My answer is yes.", "Well. My answer is maybe. So."}, {"My answer is", "yes"}};
  if (i.type == "detectable_format:json_format")
    return {{"{\"a\": [1, null]}", "```json\n{\"a\": 1}\n```", "```\n[]\n```"},
            {"{a: 1}", "Here: {\"a\": 1}", "{\"a\": 1"}};
  return {{"<<a title>>\ntext", "text <<t>>"}, {"<a title>", "<<a\ntitle>>", "<<>>", "<< >>"}};
}

Replies of_whole(const Instruction& i) {
  if (i.type == "combination:two_responses")
    return {{"one\n******\ntwo", "******one******two******"},
            {"one", "one******one", "a******b******c", "a************b"}};
  if (i.type == "combination:repeat_prompt") {
    const std::string& prompt = i.texts.at("prompt_to_repeat");
    return {{prompt + "\nmore", " " + upper(prompt)}, {"x" + prompt, prompt.substr(1), kFiller}};
  }
  if (i.type == "startend:end_checker") {
    const std::string& phrase = i.texts.at("end_phrase");
    return {{"So. " + upper(phrase), "\"So. " + phrase + "\" \n"}, {phrase + " more", kFiller}};
  }
  if (i.type == "startend:quotation") return {{"\"a\"", " \"a b\"\n"}, {"\"a", "a\"", "\"", "a"}};
  return {{"a b.", "a;b"}, {"a, b", ","}};
}

Replies replies_for(const Instruction& i) {
  if (i.type.starts_with("keywords:")) return of_keywords(i);
  if (i.type.starts_with("length_constraints:")) return of_lengths(i);
  if (i.type.starts_with("detectable_")) return of_format(i);
  return of_whole(i);
}

void expect_replies(const Instruction& one) {
  const Replies replies = replies_for(one);
  EXPECT_FALSE(replies.pass.empty() || replies.fail.empty());
  for (const std::string& reply : replies.pass) {
    EXPECT_TRUE(follows(one, reply)) << one.type << " must pass:\n" << reply;
    EXPECT_TRUE(follows_loosely(one, reply)) << one.type;
  }
  for (const std::string& reply : replies.fail) {
    EXPECT_FALSE(follows(one, reply)) << one.type << " must fail:\n" << reply;
  }
}

TEST(Ifeval, HandMadeInstructionsOfEveryType) {
  std::vector<Instruction> all = {
      with("keywords:frequency", {{"frequency", 3}},
           {{"keyword", "story"}, {"relation", "at least"}}),
      with("keywords:frequency", {{"frequency", 2}},
           {{"keyword", "story"}, {"relation", "less than"}}),
      with("keywords:letter_frequency", {{"let_frequency", 4}},
           {{"letter", "#"}, {"let_relation", "at least"}}),
      with("keywords:letter_frequency", {{"let_frequency", 4}},
           {{"letter", "Q"}, {"let_relation", "less than"}}),
      with("length_constraints:number_paragraphs", {{"num_paragraphs", 3}}),
      with("length_constraints:number_words", {{"num_words", 5}}, {{"relation", "at least"}}),
      with("length_constraints:number_words", {{"num_words", 5}}, {{"relation", "less than"}}),
      with("length_constraints:nth_paragraph_first_word",
           {{"num_paragraphs", 4}, {"nth_paragraph", 2}}, {{"first_word", "weekend"}}),
      with("detectable_content:number_placeholders", {{"num_placeholders", 3}}),
      with("detectable_content:postscript", {}, {{"postscript_marker", "P.S."}}),
      with("detectable_content:postscript", {}, {{"postscript_marker", "P.P.S"}}),
      with("detectable_format:number_bullet_lists", {{"num_bullets", 3}}),
      with("detectable_format:number_highlighted_sections", {{"num_highlights", 3}}),
      with("detectable_format:multiple_sections", {{"num_sections", 2}},
           {{"section_spliter", "SECTION"}}),
      with("combination:repeat_prompt", {}, {{"prompt_to_repeat", "Write a poem."}}),
      with("startend:end_checker", {}, {{"end_phrase", "Is there anything else?"}})};
  for (const char* plain :
       {"detectable_format:constrained_response", "detectable_format:json_format",
        "detectable_format:title", "combination:two_responses", "startend:quotation",
        "punctuation:no_comma"}) {
    all.push_back(instruction(plain));
  }
  for (const char* type : {"keywords:existence", "keywords:forbidden_words"}) {
    all.push_back(instruction(type));
    all.back().lists[type == std::string("keywords:existence") ? "keywords" : "forbidden_words"] = {
        "rock", "Economic growth"};
  }
  std::set<std::string> types;
  for (const Instruction& one : all) {
    types.insert(one.type);
    EXPECT_TRUE(is_judged(one)) << one.type;
    expect_replies(one);
  }
  EXPECT_EQ(types.size(), 20U);
}

TEST(Ifeval, EdgesOfSingleCheckers) {
  const auto bullets = [](std::int64_t n) {
    return with("detectable_format:number_bullet_lists", {{"num_bullets", n}});
  };
  EXPECT_TRUE(follows(bullets(1), "*\n* a")) << "a mark takes the next line when it ends its own";
  EXPECT_TRUE(follows(bullets(2), "\n\n  * a\n\n-")) << "blank lines before a mark";
  EXPECT_TRUE(follows(bullets(2), "*a\n-b\n***"));
  const auto spans = with("detectable_format:number_highlighted_sections", {{"num_highlights", 1}});
  EXPECT_FALSE(follows(spans, "****"));
  EXPECT_TRUE(follows(spans, "***a**"));
  EXPECT_FALSE(follows(spans, "2 * 3\nand * 4"));
  const auto words = [](std::int64_t n) {
    return with("length_constraints:number_words", {{"num_words", n}}, {{"relation", "at least"}});
  };
  EXPECT_TRUE(follows(words(4), "l'été, naïveté_1 你好"));
  EXPECT_FALSE(follows(words(5), "l'été, naïveté_1 你好"));
  const auto end = with("startend:end_checker", {}, {{"end_phrase", "ÉTÉ"}});
  EXPECT_TRUE(follows(end, "un été"));
  const auto paragraphs = with("length_constraints:number_paragraphs", {{"num_paragraphs", 2}});
  EXPECT_FALSE(follows(paragraphs, "a ****** b")) << "an inner piece is blank";
  const auto section = with("detectable_format:multiple_sections", {{"num_sections", 2}},
                            {{"section_spliter", "SECTION"}});
  EXPECT_TRUE(follows(section, "SECTION1 a SECTION 22 b"));
  EXPECT_FALSE(follows(section, "SECTION  1 a SECTION 2"));
  EXPECT_FALSE(follows(section, "Section 1 SECTION 2")) << "case counts";
  EXPECT_FALSE(follows(words(0), " \n")) << "an empty reply follows nothing";
}

TEST(Ifeval, LooseTakesEightVariants) {
  const Instruction json = instruction("detectable_format:json_format");
  EXPECT_FALSE(follows(json, "Sure!\n{}\nBye"));
  EXPECT_TRUE(follows_loosely(json, "Sure!\n{}\nBye"));
  EXPECT_TRUE(follows_loosely(json, "Sure!\n{}"));
  EXPECT_TRUE(follows_loosely(json, "{}\nBye"));
  EXPECT_TRUE(follows_loosely(json, "Sure!\n**{}**\nBye"));
  EXPECT_FALSE(follows_loosely(json, "Sure!\nWell\n{}"));
  EXPECT_FALSE(follows_loosely(instruction("punctuation:no_comma"), ","));
  EXPECT_FALSE(follows_loosely(instruction("punctuation:no_comma"), ""));
}

TEST(Ifeval, FiveTypesAndPatternsAreNotJudged) {
  std::size_t judged = 0;
  for (const InstructionEntry& entry : all_instructions()) judged += entry.judged ? 1 : 0;
  EXPECT_EQ(all_instructions().size(), 25U);
  EXPECT_EQ(judged, 20U);
  for (const char* type : {"language:response_language", "change_case:english_capital",
                           "change_case:capital_word_frequency", "no:such_type"}) {
    EXPECT_FALSE(is_judged(instruction(type))) << type;
  }
  Instruction existence = instruction("keywords:existence");
  existence.lists["keywords"] = {"rock", "a+b"};
  EXPECT_FALSE(is_judged(existence));
}

TEST(Ifeval, EveryLineOfThePublicSet) {
  const auto file =
      std::filesystem::path(ISOBIT_SOURCE_DIR) / "../shared/data/prompts/ifeval.jsonl";
  if (!std::filesystem::exists(file)) GTEST_SKIP() << "the public set is not here";
  const auto prompts = load_prompts(file.string(), {});
  ASSERT_TRUE(prompts) << prompts.error().text();
  std::map<std::string, int> judged, others;
  for (const Prompt& prompt : *prompts) {
    EXPECT_FALSE(prompt.instructions.empty()) << prompt.id;
    for (const Instruction& one : prompt.instructions) {
      ++(is_judged(one) ? judged : others)[one.type];
      if (is_judged(one)) expect_replies(one);
    }
  }
  EXPECT_EQ(judged.size(), 20U);
  EXPECT_EQ(others.size(), 5U);
}

}  // namespace
}  // namespace isobit
