// A synthetic checkpoint on disk: shards one after another, each drawn and written in pieces, and
// config.json last, so that a directory without it was never finished.
#include <algorithm>
#include <map>
#include <system_error>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "base/file.h"
#include "checkpoint/writer.h"
#include "model/synthetic.h"

namespace precis {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kPieceBytes = 32 << 20;
// What a tensor's entry takes in a header and in the index, names of the release being shorter.
constexpr std::uint64_t kEntryBytes = 320;

using Shard = std::vector<const TensorInfo*>;

std::vector<Shard> cut_into_shards(const SyntheticTensors& tensors, std::uint64_t shard_bytes) {
  std::vector<Shard> shards;
  std::uint64_t n_bytes = 0;
  for (const TensorInfo& tensor : tensors.tensors()) {
    if (shards.empty() || n_bytes + tensor.n_bytes > shard_bytes) {
      shards.emplace_back();
      n_bytes = 0;
    }
    shards.back().push_back(&tensor);
    n_bytes += tensor.n_bytes;
  }
  // Widest elements first keeps every tensor aligned to its element.
  for (Shard& shard : shards) {
    std::stable_sort(shard.begin(), shard.end(), [](const TensorInfo* a, const TensorInfo* b) {
      return bits_per_element(a->dtype) > bits_per_element(b->dtype);
    });
  }
  return shards;
}

Result<void> write_text(const fs::path& path, std::string_view text) {
  PRECIS_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(path));
  PRECIS_TRY(file.write(as_bytes(text)));
  return file.commit();
}

// Writes the files of one checkpoint and takes them away again unless told to keep them.
class Directory {
 public:
  Directory(fs::path path, const SyntheticTensors& tensors, const SyntheticProgressFn& progress)
      : path_(std::move(path)),
        tensors_(tensors),
        progress_(progress),
        total_(tensors.payload_bytes()) {}
  ~Directory() {
    std::error_code ignored;
    if (kept_) return;
    for (const fs::path& file : files_) fs::remove(file, ignored);
    if (made_) fs::remove(path_, ignored);
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;

  Result<void> make() {
    std::error_code ec;
    if (fs::exists(path_, ec) && !(fs::is_directory(path_, ec) && fs::is_empty(path_, ec))) {
      return Error{
          ErrorCode::kInvalidArgument,
          fmt::format("{}: want a directory that is empty or not there, found {}", path_.string(),
                      fs::is_directory(path_, ec) ? "files in it" : "a file")};
    }
    made_ = fs::create_directories(path_, ec);
    if (ec) return Error{ErrorCode::kIo, path_.string() + ": " + ec.message()};
    return require_room(path_, total_ + kEntryBytes * tensors_.tensors().size());
  }

  Result<void> write_shards(std::uint64_t shard_bytes) {
    const std::vector<Shard> shards = cut_into_shards(tensors_, shard_bytes);
    if (shards.size() == 1) return write_shard("model.safetensors", shards.front());
    nlohmann::json weight_map = nlohmann::json::object();
    for (std::size_t i = 0; i < shards.size(); ++i) {
      const std::string name =
          fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
      PRECIS_TRY(write_shard(name, shards[i]));
      for (const TensorInfo* tensor : shards[i]) weight_map[tensor->name] = name;
    }
    const nlohmann::json index = {{"metadata", {{"total_size", total_}}},
                                  {"weight_map", std::move(weight_map)}};
    return write("model.safetensors.index.json", index.dump(1));
  }

  Result<void> write(const std::string& name, std::string_view text) {
    files_.push_back(path_ / name);
    return write_text(files_.back(), text);
  }

  void keep() { kept_ = true; }

 private:
  Result<void> write_shard(const std::string& name, const Shard& shard) {
    std::vector<TensorHeader> headers;
    for (const TensorInfo* tensor : shard) {
      headers.push_back({tensor->name, tensor->dtype, tensor->shape});
    }
    files_.push_back(path_ / name);
    PRECIS_ASSIGN_OR_RETURN(SafetensorsWriter writer,
                            SafetensorsWriter::create(files_.back(), headers, {{"format", "pt"}}));
    for (const TensorInfo* tensor : shard) PRECIS_TRY(write_tensor(writer, *tensor));
    return writer.commit();
  }

  Result<void> write_tensor(SafetensorsWriter& writer, const TensorInfo& tensor) {
    for (std::uint64_t begin = 0; begin < tensor.n_bytes; begin += kPieceBytes) {
      piece_.resize(std::min(kPieceBytes, tensor.n_bytes - begin));
      tensors_.read_part(tensor, begin, piece_);
      PRECIS_TRY(writer.append(piece_));
      done_ += piece_.size();
      if (progress_ && !progress_(done_, total_)) {
        return Error{ErrorCode::kCancelled, fmt::format("{}: stopped after {} of {} bytes",
                                                        path_.string(), done_, total_)};
      }
    }
    return {};
  }

  fs::path path_;
  const SyntheticTensors& tensors_;
  const SyntheticProgressFn& progress_;
  std::uint64_t total_;
  std::uint64_t done_ = 0;
  std::vector<std::byte> piece_;
  std::vector<fs::path> files_;
  bool made_ = false;
  bool kept_ = false;
};

}  // namespace

Result<void> require_room(const fs::path& dir, std::uint64_t n_bytes) {
  std::error_code ec;
  const fs::space_info space = fs::space(dir, ec);
  if (ec) return Error{ErrorCode::kIo, dir.string() + ": " + ec.message()};
  if (space.available >= n_bytes) return {};
  return Error{ErrorCode::kIo, fmt::format("{}: want room for {:.1f} GB, found {:.1f} GB free",
                                           dir.string(), static_cast<double>(n_bytes) / 1e9,
                                           static_cast<double>(space.available) / 1e9)};
}

Result<void> write_synthetic(const fs::path& dir, const SyntheticFiles& files, ThreadPool* threads,
                             const SyntheticProgressFn& progress) {
  PRECIS_ASSIGN_OR_RETURN(const ModelConfig config, parse_config(files.config_json, "config"));
  const SyntheticTensors tensors(config, files.dtypes, files.seed, threads);
  Directory directory(dir, tensors, progress);
  PRECIS_TRY(directory.make());
  PRECIS_TRY(directory.write_shards(files.shard_bytes));
  for (const auto& [name, text] : files.texts) PRECIS_TRY(directory.write(name, text));
  PRECIS_TRY(directory.write("config.json", files.config_json));
  directory.keep();
  return {};
}

}  // namespace precis
