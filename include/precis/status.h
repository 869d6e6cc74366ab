// What can go wrong outside the program, as values.
//
// Every function that touches the outside world (files, requests, flags, sizes) returns Result<T>.
// A message is one sentence that names the thing, what was wanted and what was found.  Bugs inside
// the program are not errors: they end it through PRECIS_CHECK (src/base/check.h).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace precis {

enum class ErrorCode {
  kInvalidArgument,  // a flag, request or parameter that cannot be honoured
  kNotFound,         // a file, tensor or device that is not there
  kCorrupt,          // a file whose content contradicts itself or its format
  kUnsupported,      // well-formed, but not something this build can run
  kBudget,           // does not fit into the memory or context that was set
  kCancelled,        // the caller asked to stop
  kIo,               // the operating system refused: full disk, permissions
};

/// The name of a code as it appears in `--json` output: "invalid_argument", "not_found", …
std::string_view error_code_name(ErrorCode code);

struct Error {
  ErrorCode code;
  std::string message;

  /// The same error with `context` in front: "context: message".
  Error with_context(std::string_view context) && {
    message.insert(0, std::string(context) + ": ");
    return std::move(*this);
  }
};

/// A value or the Error that kept it from being made.  Read only the side that ok() names.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: implicit
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & { return std::get<0>(state_); }
  const T& value() const& { return std::get<0>(state_); }
  T&& value() && { return std::get<0>(std::move(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::get<0>(std::move(state_)); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  const Error& error() const& { return std::get<1>(state_); }
  Error&& error() && { return std::get<1>(std::move(state_)); }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT: implicit

  bool ok() const { return !error_; }
  explicit operator bool() const { return ok(); }
  const Error& error() const& { return *error_; }
  Error&& error() && { return std::move(*error_); }

 private:
  std::optional<Error> error_;
};

}  // namespace precis

/// Evaluates a Result; on error returns it from the enclosing function.
#define PRECIS_TRY(expr)                                          \
  do {                                                            \
    if (auto precis_try_result = (expr); !precis_try_result.ok()) \
      return std::move(precis_try_result).error();                \
  } while (false)

#define PRECIS_CONCAT_INNER(a, b) a##b
#define PRECIS_CONCAT(a, b) PRECIS_CONCAT_INNER(a, b)

/// Declares `decl` from a Result's value; on error returns it from the enclosing function.
#define PRECIS_ASSIGN_OR_RETURN(decl, expr) \
  PRECIS_ASSIGN_OR_RETURN_IMPL(PRECIS_CONCAT(precis_result_, __LINE__), decl, expr)
#define PRECIS_ASSIGN_OR_RETURN_IMPL(tmp, decl, expr) \
  auto tmp = (expr);                                  \
  if (!tmp.ok()) return std::move(tmp).error();       \
  decl = std::move(tmp).value()
