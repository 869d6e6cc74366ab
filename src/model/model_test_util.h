// What tests of checkpoints need: a directory that goes away, and files changed tensor by tensor.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "checkpoint/safetensors.h"
#include "checkpoint/writer.h"

namespace precis {

/// A directory of its own, removed at the end of its scope.
class TemporaryDir {
 public:
  TemporaryDir() {
    std::string name = (std::filesystem::temp_directory_path() / "precis-test-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
  }
  ~TemporaryDir() { std::filesystem::remove_all(path_); }
  TemporaryDir(const TemporaryDir&) = delete;
  TemporaryDir& operator=(const TemporaryDir&) = delete;

  const std::filesystem::path& path() const { return path_; }

  /// A writable copy of the model directory `source`.
  std::filesystem::path copy_of(const std::filesystem::path& source) const {
    const auto copy = path_ / source.filename();
    std::filesystem::create_directory(copy);
    for (const auto& entry : std::filesystem::directory_iterator(source)) {
      if (entry.is_regular_file()) std::filesystem::copy(entry.path(), copy);
    }
    return copy;
  }

 private:
  std::filesystem::path path_;
};

struct StoredTensor {
  DType dtype;
  std::vector<std::int64_t> shape;
  std::vector<std::byte> bytes;
};
using StoredTensors = std::map<std::string, StoredTensor>;

/// Rewrites a safetensors file after `change` has been at its tensors.
inline void change_safetensors(const std::filesystem::path& path,
                               const std::function<void(StoredTensors&)>& change) {
  StoredTensors tensors;
  std::map<std::string, std::string> metadata;
  {
    const auto file = Checkpoint::open(path);
    ASSERT_TRUE(file.ok()) << file.error().message;
    metadata = file->metadata();
    for (const TensorInfo& info : file->tensors()) {
      const auto bytes = file->bytes(info);
      tensors[info.name] = {info.dtype, info.shape, {bytes.begin(), bytes.end()}};
    }
  }
  change(tensors);
  std::vector<TensorToWrite> out;
  for (const auto& [name, tensor] : tensors) {
    out.push_back({{name, tensor.dtype, tensor.shape}, tensor.bytes});
  }
  const auto written = write_safetensors(path, out, metadata);
  ASSERT_TRUE(written.ok()) << written.error().message;
}

/// Expects an error of this code whose sentence has all of `parts` in it.
template <typename T>
void expect_error(const Result<T>& result, ErrorCode code, const std::vector<std::string>& parts) {
  ASSERT_FALSE(result.ok()) << "wanted an error that says " << testing::PrintToString(parts);
  EXPECT_EQ(result.error().code, code) << result.error().message;
  for (const std::string& part : parts) {
    EXPECT_NE(result.error().message.find(part), std::string::npos)
        << "message: " << result.error().message << "\nwanted in it: " << part;
  }
}

}  // namespace precis
