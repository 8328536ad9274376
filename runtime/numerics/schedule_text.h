// The texts of schedules: a value of axis gemm, and the file of a schedule book.
//
// A schedule is "split_k:4+slice:64+combine:tree+out:bf16", without options at their defaults. A
// book is a text file: the line "isobit schedules 1", then lines "N K M SCHEDULE", blank lines and
// comments from '#' to the end of a line. N and K are the outputs and inputs of the product that a
// rank makes, or *; M is its rows, n, n.., n..m or *. The first line that fits decides.
#pragma once

#include <memory>
#include <string>

#include "runtime/base/result.h"
#include "runtime/numerics/schedule.h"

namespace isobit {

std::string text_of(const GemmSchedule& schedule);
/// Errors name the option and what it may be.
Result<GemmSchedule> parse_schedule(const std::string& text);

/// One schedule, "by_rows:(1:(split_k:4)+17:(split_k:1))" (from so many rows on), or "book:FILE",
/// FILE relative to `folder`. A book's canonical text is "book:NAME@DIGEST", 16 digits of the
/// SHA-256 of its bytes; one that this process has read is found by that text again. Errors of a
/// file have the place "FILE:line".
Result<std::shared_ptr<const ScheduleBook>> parse_schedules(const std::string& text,
                                                            const std::string& folder);
/// The lines of a book's file. `name` is for messages.
Result<std::vector<ScheduleLine>> parse_schedule_lines(const std::string& bytes,
                                                       const std::string& name);

}  // namespace isobit
