// The directory of a run: config.json, which never changes, and results.jsonl, one record a line.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "precis/eval.h"

namespace precis {

using EvalConfiguration = std::vector<std::pair<std::string, std::string>>;

/// One line of results.jsonl, without its end.
std::string record_line(const EvalRecord& record);

/// Errors    kCorrupt — not such a line; the message begins with `source`
Result<EvalRecord> parse_record(std::string_view line, std::string_view source);

/// Results that grow by whole lines.
///
/// Threads   one at a time; no two processes (the second open fails)
class ResultsFile {
 public:
  /// Makes the directory, or continues in it; a last line that was cut off is removed.
  ///
  /// Errors    kInvalidArgument — the directory has another configuration, or another process
  ///           writes to it; kCorrupt — a line that is no record; kIo
  static Result<ResultsFile> open(const std::filesystem::path& directory,
                                  const EvalConfiguration& configuration);

  ResultsFile(ResultsFile&& other) noexcept;
  ResultsFile& operator=(ResultsFile&& other) = delete;
  ~ResultsFile();

  /// What was there at the start and what came since.
  const std::vector<EvalRecord>& records() const { return records_; }

  /// Writes one line; it survives the end of this process.
  ///
  /// Errors    kIo — the line may be there in part; the next open removes it
  Result<void> append(EvalRecord record);

  /// Makes all lines survive a power cut.
  ///
  /// Errors    kIo
  /// Cost      blocks until the device has them
  Result<void> sync();

 private:
  ResultsFile(std::filesystem::path path, int descriptor, std::vector<EvalRecord> records);

  std::filesystem::path path_;
  int descriptor_;
  std::vector<EvalRecord> records_;
};

/// Reads a directory without writing to it.
Result<EvalRun> read_results(const std::filesystem::path& directory);

}  // namespace precis
