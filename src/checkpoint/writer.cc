// The header is built as text of its own order: JSON objects of the library sort by name, and the
// payload's order is the caller's.
#include "checkpoint/writer.h"

#include <algorithm>
#include <array>
#include <set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "base/check.h"
#include "checkpoint/header.h"

namespace precis {
namespace {

std::uint64_t spec_bytes(const TensorHeader& spec) {
  std::uint64_t n_elements = 1;
  for (const std::int64_t dim : spec.shape) {
    PRECIS_CHECK_LE(0, dim);
    n_elements *= static_cast<std::uint64_t>(dim);
  }
  PRECIS_CHECK_EQ(n_elements * static_cast<std::uint64_t>(bits_per_element(spec.dtype)) % 8, 0u);
  return storage_bytes(spec.dtype, n_elements);
}

struct HeaderText {
  std::string json;
  std::uint64_t payload_bytes;
};

HeaderText header_text(std::span<const TensorHeader> specs,
                       const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  // Bypasses operator[] of ordered_json, whose search for an equal key is linear.
  auto& entries = header.get_ref<nlohmann::ordered_json::object_t&>();
  std::set<std::string_view> names;
  if (!metadata.empty()) entries.push_back({"__metadata__", metadata});
  std::uint64_t offset = 0;
  for (const TensorHeader& spec : specs) {
    PRECIS_CHECK(spec.name != "__metadata__");
    PRECIS_CHECK(names.insert(spec.name).second);
    const std::uint64_t end = offset + spec_bytes(spec);
    entries.push_back({spec.name,
                       {{"dtype", dtype_name(spec.dtype)},
                        {"shape", spec.shape},
                        {"data_offsets", std::array{offset, end}}}});
    offset = end;
  }
  std::string json = header.dump();
  json.append((8 - json.size() % 8) % 8, ' ');  // the payload starts at a multiple of 8
  return {std::move(json), offset};
}

}  // namespace

Result<SafetensorsWriter> SafetensorsWriter::create(
    const std::filesystem::path& path, std::span<const TensorHeader> specs,
    const std::map<std::string, std::string>& metadata) {
  const HeaderText header = header_text(specs, metadata);
  if (header.json.size() > kMaxHeaderBytes) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("{}: want a header of at most {} bytes, found {}", path.string(),
                             kMaxHeaderBytes, header.json.size())};
  }
  PRECIS_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(path));
  std::array<std::byte, 8> length;
  put_le<std::uint64_t>(length.data(), header.json.size());
  PRECIS_TRY(file.write(length));
  PRECIS_TRY(file.write(as_bytes(header.json)));
  return SafetensorsWriter(std::move(file), header.payload_bytes);
}

Result<void> SafetensorsWriter::append(std::span<const std::byte> bytes) {
  PRECIS_CHECK_LE(bytes.size(), n_bytes_left_);
  n_bytes_left_ -= bytes.size();
  return file_.write(bytes);
}

Result<void> SafetensorsWriter::commit() {
  PRECIS_CHECK_EQ(n_bytes_left_, 0u);
  return file_.commit();
}

Result<void> write_safetensors(const std::filesystem::path& path,
                               std::span<const TensorToWrite> tensors,
                               const std::map<std::string, std::string>& metadata) {
  std::vector<const TensorToWrite*> order;
  for (const TensorToWrite& tensor : tensors) order.push_back(&tensor);
  std::stable_sort(order.begin(), order.end(), [](const TensorToWrite* a, const TensorToWrite* b) {
    return bits_per_element(a->spec.dtype) > bits_per_element(b->spec.dtype);
  });
  std::vector<TensorHeader> specs;
  for (const TensorToWrite* tensor : order) specs.push_back(tensor->spec);

  PRECIS_ASSIGN_OR_RETURN(SafetensorsWriter writer,
                          SafetensorsWriter::create(path, specs, metadata));
  for (const TensorToWrite* tensor : order) {
    PRECIS_CHECK_EQ(tensor->bytes.size(), spec_bytes(tensor->spec));
    PRECIS_TRY(writer.append(tensor->bytes));
  }
  return writer.commit();
}

}  // namespace precis
