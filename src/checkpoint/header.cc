// Streams the header's JSON through a state machine instead of building a document: a document
// keeps only the last of two equal names, and costs several times the header's size in memory.
#include "checkpoint/header.h"

#include <algorithm>
#include <limits>
#include <optional>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/bytes.h"

namespace precis {
namespace {

constexpr std::size_t kLengthBytes = 8;
// Bounds the memory one entry can take; no released tensor has more than three dimensions.
constexpr std::size_t kMaxRank = 16;

Error corrupt(std::string message) {
  return {ErrorCode::kCorrupt, std::move(message)};
}

struct Entry {
  std::string name;
  std::optional<std::string> dtype;
  std::optional<std::vector<std::int64_t>> shape;
  std::optional<std::vector<std::uint64_t>> offsets;
};

// Bytes of a tensor; nullopt if they do not fit 64 bits or end within a byte.
std::optional<std::uint64_t> tensor_bytes(DType dtype, std::span<const std::int64_t> shape) {
  const auto bits = static_cast<std::uint64_t>(bits_per_element(dtype));
  std::uint64_t n_bits = bits;
  for (const std::int64_t dim : shape) {
    if (__builtin_mul_overflow(n_bits, static_cast<std::uint64_t>(dim), &n_bits)) {
      return std::nullopt;
    }
  }
  if (n_bits % 8 != 0) return std::nullopt;
  return n_bits / 8;
}

Result<TensorInfo> checked_tensor(Entry entry) {
  const std::string& name = entry.name;
  if (!entry.dtype) return corrupt(fmt::format("tensor {}: want a dtype, found none", name));
  if (!entry.shape) return corrupt(fmt::format("tensor {}: want a shape, found none", name));
  if (!entry.offsets || entry.offsets->size() != 2) {
    return corrupt(fmt::format("tensor {}: want two data_offsets, found {}", name,
                               entry.offsets ? entry.offsets->size() : 0));
  }
  const auto dtype = dtype_from_name(*entry.dtype);
  if (!dtype) {
    return Error{ErrorCode::kUnsupported,
                 fmt::format("tensor {}: want a known dtype, found {}", name, *entry.dtype)};
  }
  const std::uint64_t begin = (*entry.offsets)[0];
  const std::uint64_t end = (*entry.offsets)[1];
  if (begin > end) {
    return corrupt(
        fmt::format("tensor {}: want ordered data_offsets, found [{}, {}]", name, begin, end));
  }
  const auto n_bytes = tensor_bytes(*dtype, *entry.shape);
  if (!n_bytes) {
    return corrupt(fmt::format("tensor {}: want a whole number of bytes below 2^61, found {} {}",
                               name, *entry.dtype, shape_text(*entry.shape)));
  }
  if (*n_bytes != end - begin) {
    return corrupt(fmt::format("tensor {}: want {} bytes for {} {}, found {} in data_offsets", name,
                               *n_bytes, *entry.dtype, shape_text(*entry.shape), end - begin));
  }
  return TensorInfo{.name = std::move(entry.name),
                    .dtype = *dtype,
                    .shape = *std::move(entry.shape),
                    .offset = begin,
                    .n_bytes = *n_bytes};
}

// Follows the header's fixed nesting; any other value in any other place ends the parse.
class HeaderReader final : public nlohmann::json_sax<nlohmann::json> {
 public:
  SafetensorsHeader take_header() && { return std::move(header_); }
  Error take_error() && { return *std::move(error_); }

  bool start_object(std::size_t) override {
    if (place_ == Place::kStart) return enter(Place::kTop);
    if (place_ != Place::kTop) return misplaced("an object");
    if (entry_.name != "__metadata__") return enter(Place::kEntry);
    if (has_metadata_) return fail("want one __metadata__, found two");
    has_metadata_ = true;
    return enter(Place::kMetadata);
  }

  bool key(string_t& key) override {
    switch (place_) {
      case Place::kTop:
        entry_ = {};
        entry_.name = std::move(key);
        return true;
      case Place::kMetadata: metadata_key_ = std::move(key); return true;
      default: return enter_field(key);
    }
  }

  bool end_object() override {
    if (place_ == Place::kTop) return enter(Place::kDone);
    if (place_ == Place::kEntry) {
      auto tensor = checked_tensor(std::move(entry_));
      if (!tensor) return fail(std::move(tensor).error());
      header_.tensors.push_back(std::move(tensor).value());
    }
    return enter(Place::kTop);
  }

  bool start_array(std::size_t) override {
    if (place_ == Place::kShapeField) {
      entry_.shape.emplace();
      return enter(Place::kShape);
    }
    if (place_ == Place::kOffsetsField) {
      entry_.offsets.emplace();
      return enter(Place::kOffsets);
    }
    return misplaced("an array");
  }

  bool end_array() override { return enter(Place::kEntry); }

  bool string(string_t& value) override {
    if (place_ == Place::kDTypeField) {
      entry_.dtype = std::move(value);
      return enter(Place::kEntry);
    }
    if (place_ != Place::kMetadata) return misplaced("a string");
    header_.metadata[metadata_key_] = std::move(value);
    return true;
  }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ == Place::kShape) {
      if (value > std::numeric_limits<std::int64_t>::max()) return misplaced("a number above 2^63");
      if (entry_.shape->size() == kMaxRank) {
        return fail(fmt::format("tensor {}: want at most {} dimensions, found more", entry_.name,
                                kMaxRank));
      }
      entry_.shape->push_back(static_cast<std::int64_t>(value));
      return true;
    }
    if (place_ != Place::kOffsets) return misplaced("a number");
    if (entry_.offsets->size() == 2) {
      return fail(fmt::format("tensor {}: want two data_offsets, found more", entry_.name));
    }
    entry_.offsets->push_back(value);
    return true;
  }

  bool number_integer(number_integer_t value) override {
    return misplaced(fmt::format("a negative number ({})", value));
  }
  bool number_float(number_float_t, const string_t& text) override {
    return misplaced(fmt::format("the number {}", text));
  }
  bool null() override { return misplaced("null"); }
  bool boolean(bool) override { return misplaced("a boolean"); }
  bool binary(binary_t&) override { return misplaced("binary data"); }

  bool parse_error(std::size_t position, const std::string& last_token,
                   const nlohmann::detail::exception&) override {
    return fail(fmt::format("want a JSON header, found a syntax error at its byte {} near '{}'",
                            position, last_token.substr(0, 40)));
  }

 private:
  enum class Place {
    kStart,
    kTop,       // between tensors
    kMetadata,  // inside __metadata__
    kEntry,     // inside a tensor, between fields
    kDTypeField,
    kShapeField,
    kOffsetsField,
    kShape,    // inside the array
    kOffsets,  // inside the array
    kDone,
  };

  bool enter(Place place) {
    place_ = place;
    return true;
  }

  bool enter_field(const std::string& field) {
    if (field == "dtype" && !entry_.dtype) return enter(Place::kDTypeField);
    if (field == "shape" && !entry_.shape) return enter(Place::kShapeField);
    if (field == "data_offsets" && !entry_.offsets) return enter(Place::kOffsetsField);
    return fail(fmt::format("tensor {}: want dtype, shape and data_offsets once each, found {}",
                            entry_.name, field));
  }

  bool misplaced(std::string_view found) {
    switch (place_) {
      case Place::kDTypeField:
        return fail(fmt::format("tensor {}: want a string as dtype, found {}", entry_.name, found));
      case Place::kShapeField:
      case Place::kShape:
        return fail(fmt::format("tensor {}: want sizes below 2^63 in its shape, found {}",
                                entry_.name, found));
      case Place::kOffsetsField:
      case Place::kOffsets:
        return fail(fmt::format("tensor {}: want byte counts in data_offsets, found {}",
                                entry_.name, found));
      case Place::kMetadata:
        return fail(fmt::format("__metadata__ {}: want a string, found {}", metadata_key_, found));
      case Place::kTop:
        return fail(fmt::format("tensor {}: want an object, found {}", entry_.name, found));
      default: return fail(fmt::format("want a JSON object as header, found {}", found));
    }
  }

  bool fail(std::string message) { return fail(corrupt(std::move(message))); }
  bool fail(Error error) {
    error_ = std::move(error);
    return false;
  }

  Place place_ = Place::kStart;
  Entry entry_;
  std::string metadata_key_;
  bool has_metadata_ = false;
  SafetensorsHeader header_;
  std::optional<Error> error_;
};

// The payload is tiled: sorted by offset, each tensor begins where the one before it ended.
Result<void> check_layout(std::span<const TensorInfo> tensors, std::uint64_t payload_bytes) {
  std::vector<const TensorInfo*> by_offset;
  by_offset.reserve(tensors.size());
  for (const TensorInfo& tensor : tensors) by_offset.push_back(&tensor);
  std::sort(by_offset.begin(), by_offset.end(), [](const TensorInfo* a, const TensorInfo* b) {
    return std::pair(a->offset, a->n_bytes) < std::pair(b->offset, b->n_bytes);
  });

  std::uint64_t covered = 0;
  const TensorInfo* before = nullptr;
  for (const TensorInfo* tensor : by_offset) {
    if (tensor->offset + tensor->n_bytes > payload_bytes) {
      return corrupt(
          fmt::format("tensor {}: want data within the payload of {} bytes, found its end "
                      "at {}",
                      tensor->name, payload_bytes, tensor->offset + tensor->n_bytes));
    }
    if (tensor->offset < covered) {
      return corrupt(
          fmt::format("tensor {}: want data from byte {} on, found {}, which overlaps "
                      "tensor {}",
                      tensor->name, covered, tensor->offset, before->name));
    }
    if (tensor->offset > covered) {
      return corrupt(
          fmt::format("tensor {}: want data from byte {} on, found {}, which leaves a gap",
                      tensor->name, covered, tensor->offset));
    }
    covered += tensor->n_bytes;
    before = tensor;
  }
  if (covered != payload_bytes) {
    return corrupt(fmt::format("want a payload of {} bytes for its tensors, found {}", covered,
                               payload_bytes));
  }
  return {};
}

Result<SafetensorsHeader> parse(std::span<const std::byte> file_start, std::uint64_t file_bytes) {
  if (file_bytes < kLengthBytes || file_start.size() < kLengthBytes) {
    return corrupt(fmt::format("want a safetensors file of at least {} bytes, found {}",
                               kLengthBytes, file_bytes));
  }
  const auto header_bytes = get_le<std::uint64_t>(file_start.data());
  if (header_bytes == 0 || header_bytes > kMaxHeaderBytes) {
    return corrupt(fmt::format("want a header of 1 to {} bytes, found length {}", kMaxHeaderBytes,
                               header_bytes));
  }
  if (header_bytes > std::min<std::uint64_t>(file_bytes, file_start.size()) - kLengthBytes) {
    return corrupt(
        fmt::format("want a header of {} bytes, found a file of {}", header_bytes, file_bytes));
  }

  const auto* json = reinterpret_cast<const char*>(file_start.data()) + kLengthBytes;
  HeaderReader reader;
  if (!nlohmann::json::sax_parse(json, json + header_bytes, &reader)) {
    return std::move(reader).take_error();
  }
  SafetensorsHeader header = std::move(reader).take_header();
  const std::uint64_t payload_begin = kLengthBytes + header_bytes;
  PRECIS_TRY(check_layout(header.tensors, file_bytes - payload_begin));
  for (TensorInfo& tensor : header.tensors) tensor.offset += payload_begin;

  const auto by_name = [](const TensorInfo& a, const TensorInfo& b) { return a.name < b.name; };
  const auto same_name = [](const TensorInfo& a, const TensorInfo& b) { return a.name == b.name; };
  std::sort(header.tensors.begin(), header.tensors.end(), by_name);
  const auto twice = std::adjacent_find(header.tensors.begin(), header.tensors.end(), same_name);
  if (twice != header.tensors.end()) {
    return corrupt(fmt::format("tensor {}: want one entry, found two", twice->name));
  }
  return header;
}

}  // namespace

Result<SafetensorsHeader> parse_safetensors_header(std::span<const std::byte> file_start,
                                                   std::uint64_t file_bytes,
                                                   std::string_view file_name) {
  auto header = parse(file_start, file_bytes);
  if (!header) return std::move(header).error().with_context(file_name);
  return header;
}

std::string shape_text(std::span<const std::int64_t> shape) {
  std::string text = "[";
  for (const std::int64_t dim : shape) {
    if (text.size() > 1) text += ", ";
    text += std::to_string(dim);
  }
  return text + "]";
}

}  // namespace precis
