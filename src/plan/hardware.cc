// The only table of device peaks.
#include <array>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "precis/planner.h"

#include "base/file.h"

namespace precis {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxHardwareFileBytes = 1 << 20;

// Dense rates without sparsity.  Hopper has no FP4 products; the codes of FP4 are exact in e4m3, so
// its FP8 rate serves the index.  f32 is the rate outside the tensor cores.
const std::array<Hardware, 4>& table() {
  static const std::array<Hardware, 4> hardware{{
      {.name = "cpu",
       .source = "AMD EPYC, 2 processors with AVX-512; `precis bench machine`",
       .number_class = NumberClass::kMeasured,
       .memory_bytes = 25.3e9,
       .bytes_per_s = 27.7e9,
       .fp8_flop_per_s = 228.7e9,
       .bf16_flop_per_s = 228.7e9,
       .f32_flop_per_s = 228.7e9,
       .index_flop_per_s = 927.4e9},
      {.name = "h100",
       .source = "NVIDIA H100 datasheet, SXM",
       .memory_bytes = 80e9,
       .bytes_per_s = 3.35e12,
       .fp8_flop_per_s = 1979e12,
       .bf16_flop_per_s = 989.5e12,
       .f32_flop_per_s = 67e12,
       .index_flop_per_s = 1979e12},
      {.name = "h200",
       .source = "NVIDIA H200 datasheet, SXM",
       .memory_bytes = 141e9,
       .bytes_per_s = 4.8e12,
       .fp8_flop_per_s = 1979e12,
       .bf16_flop_per_s = 989.5e12,
       .f32_flop_per_s = 67e12,
       .index_flop_per_s = 1979e12},
      {.name = "b200",
       .source = "NVIDIA DGX B200 datasheet, one of eight GPUs",
       .memory_bytes = 180e9,
       .bytes_per_s = 8e12,
       .fp8_flop_per_s = 4500e12,
       .bf16_flop_per_s = 2250e12,
       .f32_flop_per_s = 75e12,
       .index_flop_per_s = 9000e12},
  }};
  return hardware;
}

// Reads a positive number or keeps the first complaint.
double positive(const json& object, const char* field, const std::string& file,
                std::string& complaint) {
  const auto it = object.find(field);
  if (it != object.end() && it->is_number() && it->get<double>() > 0) return it->get<double>();
  if (complaint.empty()) {
    complaint = fmt::format("{}: {}: want a number above 0, found {}", file, field,
                            it == object.end() ? "nothing" : it->type_name());
  }
  return 1;
}

std::string text_or(const json& object, const char* field, std::string otherwise) {
  const auto it = object.find(field);
  return it != object.end() && it->is_string() ? it->get<std::string>() : otherwise;
}

}  // namespace

std::string_view number_class_name(NumberClass number_class) {
  return number_class == NumberClass::kMeasured ? "measured" : "datasheet";
}

std::span<const Hardware> known_hardware() {
  return table();
}

Result<Hardware> find_hardware(std::string_view name) {
  std::string names;
  for (const Hardware& hardware : table()) {
    if (hardware.name == name) return hardware;
    names += (names.empty() ? "" : ", ") + hardware.name;
  }
  return Error{ErrorCode::kNotFound,
               fmt::format("hardware: want one of {}, found \"{}\"", names, name)};
}

Result<Hardware> read_hardware(const std::filesystem::path& path) {
  PRECIS_ASSIGN_OR_RETURN(const std::string text, read_text_file(path, kMaxHardwareFileBytes));
  const json object = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) {
    return Error{ErrorCode::kCorrupt,
                 fmt::format("{}: want a JSON object, found {}", path.string(),
                             object.is_discarded() ? "malformed JSON" : object.type_name())};
  }
  std::string complaint;
  const auto number = [&](const char* field) {
    return positive(object, field, path.string(), complaint);
  };
  Hardware hardware;
  hardware.name = text_or(object, "name", path.stem().string());
  hardware.source = text_or(object, "source", path.string());
  hardware.number_class = text_or(object, "class", "measured") == "datasheet"
                              ? NumberClass::kDatasheet
                              : NumberClass::kMeasured;
  hardware.memory_bytes = number("memory_bytes");
  hardware.bytes_per_s = number("bytes_per_s");
  hardware.fp8_flop_per_s = number("fp8_flop_per_s");
  hardware.bf16_flop_per_s = number("bf16_flop_per_s");
  hardware.f32_flop_per_s = number("f32_flop_per_s");
  hardware.index_flop_per_s = number("index_flop_per_s");
  if (!complaint.empty()) return Error{ErrorCode::kCorrupt, complaint};
  return hardware;
}

}  // namespace precis
