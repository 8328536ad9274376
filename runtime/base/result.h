// Errors and results of everything that can fail because of the outside world.
//
// Three kinds of trouble, three tools (used in the whole project):
//   programming error -> ISOBIT_CHECK, on in every build, aborts with the place;
//   operating error   -> Result<T>: a value, or an Error that names the place;
//   divergence        -> a plain value (harness/verdict.h), never an error.
// The members carry std::expected's names, so that a later switch is one alias.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <variant>

namespace isobit {

/// What went wrong and where. `place` is `file:line:column`, `file: byte N`, a path, or empty.
struct Error {
  std::string message;
  std::string place;

  /// One line for a person: "place: message".
  [[nodiscard]] std::string text() const {
    return place.empty() ? message : place + ": " + message;
  }
};

/// A value of T or an Error. REQUIRES for value(): has_value().
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  [[nodiscard]] bool has_value() const { return state_.index() == 0; }
  explicit operator bool() const { return has_value(); }
  T& value() & { return std::get<0>(state_); }
  const T& value() const& { return std::get<0>(state_); }
  T&& value() && { return std::get<0>(std::move(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  const Error& error() const { return std::get<1>(state_); }

 private:
  std::variant<T, Error> state_;
};

/// Result of an action that has no value.
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)), failed_(true) {}

  [[nodiscard]] bool has_value() const { return !failed_; }
  explicit operator bool() const { return has_value(); }
  const Error& error() const { return error_; }

 private:
  Error error_;
  bool failed_ = false;
};

[[noreturn]] inline void check_failed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "%s:%d: ISOBIT_CHECK failed: %s\n", file, line, condition);
  std::abort();
}

}  // namespace isobit

/// Aborts with the place when `condition` is false. For programming errors only.
#define ISOBIT_CHECK(condition) \
  ((condition) ? void(0) : ::isobit::check_failed(#condition, __FILE__, __LINE__))

/// Returns the error of `result` from the enclosing function when there is one.
#define ISOBIT_TRY(result)                                                                        \
  do {                                                                                            \
    if (auto&& try_result_ = (result); !try_result_) return ::isobit::Error(try_result_.error()); \
  } while (false)
