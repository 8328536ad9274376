// GSM8K's way of reading an answer, and equality of text.
#include "harness/judge/score.h"

#include <cctype>

namespace isobit {
namespace {

/// The last number of a text, commas dropped.
std::string last_number(const std::string& text) {
  std::string best, current;
  for (const char c : text + " ") {
    const bool digit = std::isdigit(static_cast<unsigned char>(c)) != 0;
    if (digit || (c == '.' && !current.empty()) || (c == '-' && current.empty())) {
      current += c;
    } else if (c != ',' || current.empty()) {
      while (!current.empty() && current.back() == '.') current.pop_back();
      if (!current.empty() && current != "-") best = current;
      current.clear();
    }
  }
  return best;
}

}  // namespace

bool answers(const PromptTrace& prompt) {
  std::string reply = prompt.text.substr(0, prompt.text.find("<|"));
  if (const std::size_t mark = reply.rfind("#### "); mark != std::string::npos) {
    reply.erase(0, mark + 5);
  }
  const std::size_t begin = reply.find_first_not_of(" \n\t");
  if (begin == std::string::npos) return false;
  reply = reply.substr(begin, reply.find_last_not_of(" \n\t") + 1 - begin);
  const std::string number = last_number(prompt.answer);
  return reply == prompt.answer ||
         (!number.empty() && number == prompt.answer && last_number(reply) == number);
}

Score score_of(const CellTrace& trace) {
  Score score;
  for (const PromptTrace& prompt : trace.prompts) {
    if (prompt.answer.empty()) continue;
    ++score.scored;
    score.correct += answers(prompt) ? 1 : 0;
  }
  return score;
}

}  // namespace isobit
