#include "cli/format.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>

#include <fmt/format.h>

namespace precis::cli {
namespace {

// Display columns, taking every character as one wide.
std::size_t width(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

}  // namespace

std::string format_count(std::int64_t n) {
  std::string digits = fmt::format("{}", n);
  const std::size_t first = n < 0 ? 1 : 0;
  for (std::size_t i = digits.size(); i > first + 3;) {
    i -= 3;
    digits.insert(i, 1, ',');
  }
  return digits;
}

std::string format_bytes(std::int64_t n_bytes) {
  static constexpr std::array<const char*, 6> kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  double value = static_cast<double>(n_bytes);
  std::size_t unit = 0;
  // 999.5 would print as 1000 in three digits.
  while (value >= 999.5 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  if (unit == 0) return fmt::format("{} B", n_bytes);
  const int n_decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  return fmt::format("{:.{}f} {}", value, n_decimals, kUnits[unit]);
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::string format_seconds(double seconds) {
  if (seconds < 10) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<std::int64_t>(seconds + 0.5);
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} h {:02} min", whole / 3600, whole % 3600 / 60);
}

double tokens_per_second(std::int64_t n_tokens, double seconds) {
  return seconds > 0 ? static_cast<double>(n_tokens) / seconds : 0;
}

Result<std::int64_t> parse_size(std::string_view name, std::string_view text) {
  const Error refused{
      ErrorCode::kInvalidArgument,
      fmt::format("{}: want a number such as 4096, 128K or 1M, found \"{}\"", name, text)};
  std::int64_t factor = 1;
  std::string_view digits = text;
  if (!digits.empty()) {
    switch (digits.back()) {
      case 'k':
      case 'K': factor = 1024; break;
      case 'm':
      case 'M': factor = 1024 * 1024; break;
      default: break;
    }
    if (factor != 1) digits.remove_suffix(1);
  }
  std::int64_t n = 0;
  const auto [end, status] = std::from_chars(digits.begin(), digits.end(), n);
  if (status != std::errc() || end != digits.end() || n < 0) return refused;
  if (n > std::numeric_limits<std::int64_t>::max() / factor) return refused;
  return n * factor;
}

std::string short_size(std::int64_t n) {
  if (n > 0 && n % (1 << 20) == 0) return fmt::format("{}M", n >> 20);
  if (n > 0 && n % (1 << 10) == 0) return fmt::format("{}K", n >> 10);
  return format_count(n);
}

std::string Table::text() const {
  std::vector<std::size_t> widths;
  for (const Column& column : columns_) widths.push_back(width(column.title));
  for (const auto& row : rows_) {
    for (std::size_t i = 0; i < widths.size(); ++i) widths[i] = std::max(widths[i], width(row[i]));
  }
  std::string out;
  const auto add_line = [&](const auto& cell) {
    std::string line;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      const std::string padding(widths[i] - width(cell(i)), ' ');
      if (i > 0) line += "  ";
      line += columns_[i].align == Align::kRight ? padding + cell(i) : cell(i) + padding;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + '\n';
  };
  add_line([&](std::size_t i) -> const std::string& { return columns_[i].title; });
  for (const auto& row : rows_) {
    add_line([&](std::size_t i) -> const std::string& { return row[i]; });
  }
  return out;
}

}  // namespace precis::cli
