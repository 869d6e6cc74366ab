// Which hardware --hardware means.
#include <algorithm>
#include <filesystem>

#include <fmt/format.h>
#include <unistd.h>

#include "precis/bench.h"

#include "cli/plan.h"

namespace precis::cli {
namespace {

double memory_of_this_machine() {
  return static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGE_SIZE));
}

// Rates with every processor busy, on the fastest instruction set, from memory.  Products in any
// format run at the f32 rate: the engine adds f32 products in one fixed order (docs/numerics.md).
Hardware hardware_of(const Machine& machine, const std::string& source) {
  const auto best_rate = [&](const std::string& unit) {
    double best = 0;
    for (const MultiplyAddRate& rate : machine.multiply_adds) {
      if (rate.unit == unit && rate.n_threads == machine.n_processors) {
        best = std::max(best, rate.flop_per_s);
      }
    }
    return best;
  };
  Hardware hardware;
  hardware.name = "cpu";
  hardware.source = fmt::format("{}, {} processors, {}; memory of this machine", machine.processor,
                                machine.n_processors, source);
  hardware.number_class = NumberClass::kMeasured;
  hardware.memory_bytes = memory_of_this_machine();
  hardware.fp8_flop_per_s = hardware.bf16_flop_per_s = hardware.f32_flop_per_s = best_rate("f32");
  hardware.index_flop_per_s = std::max(best_rate("int8"), hardware.f32_flop_per_s);
  std::int64_t largest = 0;
  for (const ReadRate& rate : machine.reads) {
    if (rate.n_threads != machine.n_processors || rate.working_set_bytes < largest) continue;
    largest = rate.working_set_bytes;
    hardware.bytes_per_s = rate.bytes_per_s;
  }
  return hardware;
}

Result<Hardware> from_machine_file(const std::filesystem::path& path) {
  PRECIS_ASSIGN_OR_RETURN(const Machine machine, read_machine(path));
  Hardware hardware = hardware_of(machine, path.string());
  if (hardware.f32_flop_per_s <= 0 || hardware.bytes_per_s <= 0) {
    return Error{ErrorCode::kCorrupt,
                 fmt::format("{}: want rates with all {} processors, found none", path.string(),
                             machine.n_processors)};
  }
  return hardware;
}

}  // namespace

Result<Hardware> resolve_hardware(const std::string& name_or_file) {
  if (name_or_file == "cpu" && !default_machine_path().empty()) {
    auto measured = from_machine_file(default_machine_path());
    if (measured || measured.error().code != ErrorCode::kNotFound) return measured;
  }
  std::error_code ec;
  if (!std::filesystem::is_regular_file(name_or_file, ec)) return find_hardware(name_or_file);
  if (auto machine = from_machine_file(name_or_file)) return machine;
  return read_hardware(name_or_file);
}

}  // namespace precis::cli
