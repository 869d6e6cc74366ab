#include "cli/input.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <system_error>

#include <fmt/format.h>

#include "precis/text.h"

#include "cli/terminal.h"

namespace precis::cli {

Result<std::string> read_file(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) {
    return Error{ErrorCode::kNotFound, fmt::format("there is no file {}", path.string())};
  }
  if (std::filesystem::is_directory(path, ignored)) {
    return Error{ErrorCode::kIo, fmt::format("{} is a directory, want a file", path.string())};
  }
  std::ifstream file(path, std::ios::binary);
  std::string content{std::istreambuf_iterator<char>(file), {}};
  if (!file.is_open() || file.bad()) {
    return Error{ErrorCode::kIo,
                 fmt::format("{} cannot be read: {}", path.string(), std::strerror(errno))};
  }
  return content;
}

Result<std::string> read_stdin() {
  std::string content;
  char buffer[1 << 16];
  for (;;) {
    const std::size_t n = std::fread(buffer, 1, sizeof buffer, stdin);
    content.append(buffer, n);
    if (interrupted()) return Error{ErrorCode::kCancelled, "interrupted while reading input"};
    if (n < sizeof buffer) break;
  }
  if (std::ferror(stdin)) {
    return Error{ErrorCode::kIo,
                 fmt::format("standard input cannot be read: {}", std::strerror(errno))};
  }
  return content;
}

Result<std::string> read_input(const std::string& path_or_dash) {
  return path_or_dash == "-" ? read_stdin() : read_file(path_or_dash);
}

Result<void> write_file(const std::filesystem::path& path, std::string_view content) {
  // Under another name first, so that a reader never sees half a file; /dev/stdout has no such name.
  std::error_code status;
  const bool in_place =
      std::filesystem::exists(path, status) && !std::filesystem::is_regular_file(path, status);
  const std::filesystem::path written =
      in_place ? path : std::filesystem::path(path.string() + ".partial");
  std::ofstream file(written, std::ios::binary | std::ios::trunc);
  file.write(content.data(), static_cast<std::streamsize>(content.size()));
  file.close();
  if (file.fail()) {
    status = std::error_code(errno, std::generic_category());
  } else if (!in_place) {
    std::filesystem::rename(written, path, status);
  }
  if (!status) return {};
  std::error_code ignored;
  if (!in_place) std::filesystem::remove(written, ignored);
  return Error{ErrorCode::kIo,
               fmt::format("{} cannot be written: {}", path.string(), status.message())};
}

Result<void> require_utf8(std::string_view text, std::string_view source) {
  // The stream replaces what is not UTF-8, so the first difference is the first bad byte.
  Utf8Stream stream;
  std::string valid = stream.feed(text);
  valid += stream.flush();
  const auto [bad, unused] = std::mismatch(text.begin(), text.end(), valid.begin(), valid.end());
  if (bad == text.end()) return {};
  return Error{ErrorCode::kCorrupt,
               fmt::format("{} is not UTF-8 text: byte {} is 0x{:02x}", source, bad - text.begin(),
                           static_cast<unsigned char>(*bad))};
}

}  // namespace precis::cli
