// Files and standard input, read whole.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "precis/status.h"

namespace precis::cli {

/// The content of a file.
///
/// Errors    kNotFound — no such file; kIo — it cannot be read
Result<std::string> read_file(const std::filesystem::path& path);

/// Standard input up to its end.
///
/// Errors    kIo; kCancelled — Ctrl-C while reading
Result<std::string> read_stdin();

/// read_stdin() for "-", else read_file().
Result<std::string> read_input(const std::string& path_or_dash);

/// Puts `content` in place of the file, whole.
///
/// Errors    kIo — the system refused; a file that stood there is untouched
Result<void> write_file(const std::filesystem::path& path, std::string_view content);

/// Errors    kCorrupt — `text` is not UTF-8; the message names `source` and the first bad byte
Result<void> require_utf8(std::string_view text, std::string_view source);

}  // namespace precis::cli
