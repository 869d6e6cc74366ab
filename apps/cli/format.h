// Numbers and tables as people read them.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "precis/status.h"

namespace precis::cli {

/// "131,072"
std::string format_count(std::int64_t n);

/// "512 B", "1.50 KiB", "23.4 MiB": three significant digits.
std::string format_bytes(std::int64_t n_bytes);

/// "0.8 s", "12 s", "3 min 05 s"
std::string format_seconds(double seconds);

/// Seconds from `start` to now.
double seconds_since(std::chrono::steady_clock::time_point start);

/// Tokens per second; 0 where no time has passed.
double tokens_per_second(std::int64_t n_tokens, double seconds);

/// "4096", "128K" or "1M" (factors of 1024) as a number.
///
/// Errors    kInvalidArgument — not such a number, negative, or too large; the message begins with
///           `name`
Result<std::int64_t> parse_size(std::string_view name, std::string_view text);

/// "2K", "128K", "1M" where that is exact, else as format_count.
std::string short_size(std::int64_t n);

/// Rows under a header, columns padded to their widest cell.
class Table {
 public:
  enum class Align : std::uint8_t { kLeft, kRight };
  struct Column {
    std::string title;
    Align align = Align::kRight;
  };

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  /// Requires  one cell for each column
  void add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }

  /// Lines that end in a newline and carry no trailing spaces.
  std::string text() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace precis::cli
