// Finds the files of a checkpoint, joins their headers and holds them against the index.
#include "checkpoint/safetensors.h"

#include <algorithm>
#include <numeric>
#include <set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/check.h"

namespace precis {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSingleName = "model.safetensors";
constexpr std::string_view kIndexName = "model.safetensors.index.json";
// The largest published index, of 149,782 tensors, is below 15 MB.
constexpr std::size_t kMaxIndexBytes = 256 << 20;

// Tensor name → file name, as the index states it.
using WeightMap = std::map<std::string, std::string, std::less<>>;

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

Result<WeightMap> read_index(const fs::path& path) {
  PRECIS_ASSIGN_OR_RETURN(const std::string text, read_text_file(path, kMaxIndexBytes));
  const auto corrupt = [&](std::string_view message) {
    return Error{ErrorCode::kCorrupt, fmt::format("{}: {}", path.string(), message)};
  };
  nlohmann::json index;
  try {
    index = nlohmann::json::parse(text);
  } catch (const nlohmann::json::parse_error& error) {
    return corrupt(fmt::format("want JSON, found a syntax error at byte {}", error.byte));
  }
  const auto found = index.is_object() ? index.find("weight_map") : index.end();
  if (found == index.end() || !found->is_object()) {
    return corrupt("want an object weight_map, found none");
  }
  WeightMap weight_map;
  for (auto& [name, file] : found->items()) {
    if (!file.is_string()) {
      return corrupt(fmt::format("tensor {}: want a file name, found {}", name, file.type_name()));
    }
    auto& file_name = file.get_ref<std::string&>();
    // Shards lie beside the index; a path could reach any file of the machine.
    if (file_name.empty() || file_name == ".." || file_name == "." ||
        file_name.find_first_of(std::string_view("/\\\0", 3)) != std::string::npos) {
      return corrupt(fmt::format("tensor {}: want a file name without directories, found '{}'",
                                 name, file_name));
    }
    weight_map.emplace_hint(weight_map.end(), name, std::move(file_name));
  }
  if (weight_map.empty()) return corrupt("want tensors in weight_map, found none");
  return weight_map;
}

// Both directions: a tensor the index promises must be where it says, and no shard may hold more.
Result<void> check_index(const fs::path& index_path, const WeightMap& weight_map,
                         const Checkpoint& checkpoint) {
  const auto corrupt = [&](std::string message) {
    return Error{ErrorCode::kCorrupt, fmt::format("{}: {}", index_path.string(), message)};
  };
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    const std::string shard = checkpoint.shards()[tensor.shard_idx].path.filename().string();
    const auto promised = weight_map.find(tensor.name);
    if (promised == weight_map.end()) {
      return corrupt(
          fmt::format("want every tensor of {}, found no entry for {}", shard, tensor.name));
    }
    if (promised->second != shard) {
      return corrupt(fmt::format("tensor {}: want it in {}, found it in {}", tensor.name,
                                 promised->second, shard));
    }
  }
  if (weight_map.size() == checkpoint.tensors().size()) return {};
  for (const auto& [name, file] : weight_map) {
    if (checkpoint.find(name) == nullptr) {
      return corrupt(fmt::format("tensor {}: want it in {}, found no such tensor", name, file));
    }
  }
  return {};
}

Error incomplete_directory(const fs::path& path, std::string_view missing) {
  return {
      ErrorCode::kNotFound,
      fmt::format("{}: want a model directory (config.json, and either {} or {} with its shards), "
                  "found no {}",
                  path.string(), kSingleName, kIndexName, missing)};
}

}  // namespace

Result<Checkpoint> Checkpoint::open(const fs::path& path) {
  Checkpoint checkpoint;
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) {
    PRECIS_TRY(checkpoint.add_shard(path));
    PRECIS_TRY(checkpoint.sort_tensors());
    return checkpoint;
  }
  if (!is_file(path / "config.json")) return incomplete_directory(path, "config.json");

  const fs::path index_path = path / kIndexName;
  if (!is_file(index_path)) {
    if (!is_file(path / kSingleName)) return incomplete_directory(path, "weights");
    PRECIS_TRY(checkpoint.add_shard(path / kSingleName));
    PRECIS_TRY(checkpoint.sort_tensors());
    return checkpoint;
  }

  PRECIS_ASSIGN_OR_RETURN(const WeightMap weight_map, read_index(index_path));
  std::set<std::string> files;
  for (const auto& [name, file] : weight_map) files.insert(file);
  for (const std::string& file : files) {
    if (!is_file(path / file)) {
      return Error{ErrorCode::kNotFound, fmt::format("{}: want the shard {} that the index names, "
                                                     "found no such file",
                                                     path.string(), file)};
    }
    PRECIS_TRY(checkpoint.add_shard(path / file));
  }
  PRECIS_TRY(checkpoint.sort_tensors());
  PRECIS_TRY(check_index(index_path, weight_map, checkpoint));
  return checkpoint;
}

Result<void> Checkpoint::add_shard(const fs::path& path) {
  PRECIS_ASSIGN_OR_RETURN(MappedFile file, MappedFile::open(path));
  PRECIS_ASSIGN_OR_RETURN(SafetensorsHeader header,
                          parse_safetensors_header(file.bytes(), file.n_bytes(), path.string()));
  for (TensorInfo& tensor : header.tensors) {
    tensor.shard_idx = shards_.size();
    tensors_.push_back(std::move(tensor));
  }
  metadata_.merge(header.metadata);
  shards_.push_back({path, std::move(file)});
  return {};
}

Result<void> Checkpoint::sort_tensors() {
  std::sort(tensors_.begin(), tensors_.end(),
            [](const TensorInfo& a, const TensorInfo& b) { return a.name < b.name; });
  const auto twice =
      std::adjacent_find(tensors_.begin(), tensors_.end(),
                         [](const TensorInfo& a, const TensorInfo& b) { return a.name == b.name; });
  if (twice == tensors_.end()) return {};
  const auto shard = [&](const TensorInfo& tensor) {
    return shards_[tensor.shard_idx].path.filename().string();
  };
  return Error{ErrorCode::kCorrupt,
               fmt::format("{}: tensor {}: want it in one shard, found it in {} and {}",
                           shards_[0].path.parent_path().string(), twice->name, shard(twice[0]),
                           shard(twice[1]))};
}

std::span<const std::byte> Checkpoint::bytes(const TensorInfo& tensor) const {
  PRECIS_CHECK_LT(tensor.shard_idx, shards_.size());
  const MappedFile& file = shards_[tensor.shard_idx].file;
  PRECIS_CHECK_LE(tensor.offset + tensor.n_bytes, file.n_bytes());
  return file.bytes().subspan(tensor.offset, tensor.n_bytes);
}

void Checkpoint::advise(const TensorInfo& tensor, Access access) const {
  PRECIS_CHECK_LT(tensor.shard_idx, shards_.size());
  shards_[tensor.shard_idx].file.advise(access, tensor.offset, tensor.n_bytes);
}

std::uint64_t Checkpoint::payload_bytes() const {
  return std::accumulate(
      tensors_.begin(), tensors_.end(), std::uint64_t{0},
      [](std::uint64_t sum, const TensorInfo& tensor) { return sum + tensor.n_bytes; });
}

}  // namespace precis
