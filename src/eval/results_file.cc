#include "eval/results_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <sys/file.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/file.h"

namespace precis {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kConfigurationFile = "config.json";
constexpr const char* kResultsFile = "results.jsonl";
constexpr std::size_t kMaxBytes = std::size_t{1} << 32;

std::string dumped(const Json& json, int indent) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

Error io_error(const fs::path& path, const char* action) {
  return {ErrorCode::kIo,
          fmt::format("{}: cannot {}: {}", path.string(), action, std::strerror(errno))};
}

Result<EvalConfiguration> read_configuration(const fs::path& directory) {
  const fs::path path = directory / kConfigurationFile;
  PRECIS_ASSIGN_OR_RETURN(const std::string text, read_text_file(path, kMaxBytes));
  const Json json = Json::parse(text, nullptr, false);
  EvalConfiguration configuration;
  const bool is_object = json.is_object();
  for (const auto& [key, value] : json.items()) {
    if (!is_object || !value.is_string()) break;
    configuration.emplace_back(key, value.get<std::string>());
  }
  if (!is_object || configuration.size() != json.size()) {
    return Error{ErrorCode::kCorrupt, fmt::format("{}: want an object of strings", path.string())};
  }
  return configuration;
}

Result<void> write_configuration(const fs::path& directory,
                                 const EvalConfiguration& configuration) {
  Json json = Json::object();
  for (const auto& [key, value] : configuration) json[key] = value;
  PRECIS_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(directory / kConfigurationFile));
  PRECIS_TRY(file.write(as_bytes(dumped(json, 1) + "\n")));
  return file.commit();
}

std::string value_of(const EvalConfiguration& configuration, std::string_view key) {
  const auto found = std::ranges::find(
      configuration, key, [](const auto& entry) -> std::string_view { return entry.first; });
  return found == configuration.end() ? "not set" : found->second;
}

// Names the first setting that differs.
Result<void> require_equal(const fs::path& directory, const EvalConfiguration& there,
                           const EvalConfiguration& here) {
  for (const EvalConfiguration* side : {&here, &there}) {
    for (const auto& [key, value] : *side) {
      if (value_of(there, key) == value_of(here, key)) continue;
      return Error{ErrorCode::kInvalidArgument,
                   fmt::format("{} holds results with {} \"{}\", and this run has \"{}\": choose "
                               "another --out, or the same settings",
                               directory.string(), key, value_of(there, key), value_of(here, key))};
    }
  }
  return {};
}

struct Lines {
  std::vector<EvalRecord> records;
  std::size_t n_bytes = 0;  // of the complete lines
};

// A line without its end was cut off while it was written.
Result<Lines> parse_lines(const fs::path& path, std::string_view text) {
  Lines lines;
  for (int number = 1;; ++number) {
    const std::size_t end = text.find('\n', lines.n_bytes);
    if (end == std::string_view::npos) return lines;
    PRECIS_ASSIGN_OR_RETURN(EvalRecord record,
                            parse_record(text.substr(lines.n_bytes, end - lines.n_bytes),
                                         fmt::format("{}, line {}", path.string(), number)));
    lines.records.push_back(std::move(record));
    lines.n_bytes = end + 1;
  }
}

}  // namespace

std::string record_line(const EvalRecord& record) {
  Json json = {{"id", record.id},
               {"task", record.task},
               {"length", record.length},
               {"sample", record.sample},
               {"depth", record.depth},
               {"seed", record.seed},
               {"prompt_hash", record.prompt_hash},
               {"references", record.references},
               {"output", record.output},
               {"exact", record.exact},
               {"contains", record.contains},
               {"score", record.score},
               {"detail", record.detail},
               {"prompt_tokens", record.n_prompt_tokens},
               {"output_tokens", record.n_output_tokens},
               {"seconds", record.seconds}};
  json["recall"] = Json::array();
  for (const SelectorRecall& layer : record.recall) {
    json["recall"].push_back(
        {{"layer", layer.layer}, {"hit", layer.n_hit}, {"tokens", layer.n_tokens}});
  }
  return dumped(json, -1);
}

Result<EvalRecord> parse_record(std::string_view line, std::string_view source) {
  try {
    const Json json = Json::parse(line);
    EvalRecord record;
    json.at("id").get_to(record.id);
    json.at("task").get_to(record.task);
    json.at("length").get_to(record.length);
    json.at("sample").get_to(record.sample);
    json.at("depth").get_to(record.depth);
    json.at("seed").get_to(record.seed);
    json.at("prompt_hash").get_to(record.prompt_hash);
    json.at("references").get_to(record.references);
    json.at("output").get_to(record.output);
    json.at("exact").get_to(record.exact);
    json.at("contains").get_to(record.contains);
    json.at("score").get_to(record.score);
    json.at("detail").get_to(record.detail);
    json.at("prompt_tokens").get_to(record.n_prompt_tokens);
    json.at("output_tokens").get_to(record.n_output_tokens);
    json.at("seconds").get_to(record.seconds);
    for (const Json& layer : json.at("recall")) {
      record.recall.push_back({.layer = layer.at("layer").get<int>(),
                               .n_hit = layer.at("hit").get<std::int64_t>(),
                               .n_tokens = layer.at("tokens").get<std::int64_t>()});
    }
    return record;
  } catch (const Json::exception& e) {
    return Error{ErrorCode::kCorrupt, fmt::format("{}: not a result: {}", source, e.what())};
  }
}

ResultsFile::ResultsFile(fs::path path, int descriptor, std::vector<EvalRecord> records)
    : path_(std::move(path)), descriptor_(descriptor), records_(std::move(records)) {}

ResultsFile::ResultsFile(ResultsFile&& other) noexcept
    : path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      records_(std::move(other.records_)) {}

ResultsFile::~ResultsFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Result<ResultsFile> ResultsFile::open(const fs::path& directory,
                                      const EvalConfiguration& configuration) {
  std::error_code failed;
  fs::create_directories(directory, failed);
  if (failed) {
    return Error{ErrorCode::kIo, fmt::format("{}: cannot make this directory: {}",
                                             directory.string(), failed.message())};
  }
  const fs::path path = directory / kResultsFile;
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (descriptor < 0) return io_error(path, "open");
  ResultsFile file(path, descriptor, {});
  if (::flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("{}: another process writes to it", path.string())};
  }
  if (fs::exists(directory / kConfigurationFile)) {
    PRECIS_ASSIGN_OR_RETURN(const EvalConfiguration there, read_configuration(directory));
    PRECIS_TRY(require_equal(directory, there, configuration));
  } else {
    PRECIS_TRY(write_configuration(directory, configuration));
  }
  PRECIS_ASSIGN_OR_RETURN(const std::string text, read_text_file(path, kMaxBytes));
  PRECIS_ASSIGN_OR_RETURN(Lines lines, parse_lines(path, text));
  if (::ftruncate(descriptor, static_cast<off_t>(lines.n_bytes)) != 0 ||
      ::lseek(descriptor, 0, SEEK_END) < 0) {
    return io_error(path, "cut off the last line");
  }
  file.records_ = std::move(lines.records);
  return file;
}

Result<void> ResultsFile::append(EvalRecord record) {
  const std::string line = record_line(record) + "\n";
  for (std::size_t written = 0; written < line.size();) {
    const ssize_t n = ::write(descriptor_, line.data() + written, line.size() - written);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return io_error(path_, "write");
    written += static_cast<std::size_t>(n);
  }
  records_.push_back(std::move(record));
  return {};
}

Result<void> ResultsFile::sync() {
  if (::fsync(descriptor_) != 0) return io_error(path_, "sync");
  return {};
}

Result<EvalRun> read_results(const fs::path& directory) {
  EvalRun run;
  PRECIS_ASSIGN_OR_RETURN(run.configuration, read_configuration(directory));
  const fs::path path = directory / kResultsFile;
  PRECIS_ASSIGN_OR_RETURN(const std::string text, read_text_file(path, kMaxBytes));
  PRECIS_ASSIGN_OR_RETURN(Lines lines, parse_lines(path, text));
  run.records = std::move(lines.records);
  return run;
}

}  // namespace precis
