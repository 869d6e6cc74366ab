// The machine benchmark: peak loops of backend/cpu under a clock, and its results as JSON.
#include "engine/bench_machine.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <limits>
#include <system_error>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "backend/cpu/peak.h"
#include "base/clock.h"
#include "base/env.h"
#include "base/file.h"
#include "base/threads.h"
#include "tensor/buffer.h"

namespace precis {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kRepeats = 7;
constexpr int kPartsPerThread = 8;  // so that no thread waits for another one's share
constexpr double kPartSeconds = 0.004;
constexpr std::size_t kMaxMachineFileBytes = 1 << 20;

// Working sets that fit a core's own caches, the shared cache, and memory alone.
constexpr std::array<std::int64_t, 3> kWorkingSets = {512 << 10, 8 << 20, 256 << 20};

template <typename Run>
double seconds_of(const Run& run) {
  const Clock::time_point start = Clock::now();
  run();
  return seconds_since(start);
}

// The most of several runs: whatever else the machine does only ever slows a run down.
template <typename Run>
double best_seconds(const Run& run) {
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < kRepeats; ++i) best = std::min(best, seconds_of(run));
  return best;
}

// Results of the loops go here, or the compiler would remove them.
volatile float sink = 0;

double measure_multiply_adds(ThreadPool& threads, MultiplyAdd unit, Isa isa) {
  std::int64_t n_rounds = 1000;
  while (seconds_of([&] { sink = run_multiply_adds(unit, isa, n_rounds); }) < kPartSeconds) {
    n_rounds *= 2;
  }
  const int n_parts = threads.n_threads() * kPartsPerThread;
  const double seconds = best_seconds([&] {
    threads.parallel_for(n_parts, 1, [&](std::int64_t, std::int64_t, int) {
      sink = run_multiply_adds(unit, isa, n_rounds);
    });
  });
  return flop_per_round(unit, isa) * static_cast<double>(n_rounds) * n_parts / seconds;
}

double measure_read(ThreadPool& threads, Isa isa, std::span<const std::byte> bytes) {
  const auto n_parts = static_cast<std::int64_t>(threads.n_threads());
  const auto part_bytes = bytes.size() / static_cast<std::size_t>(n_parts) / 512 * 512;
  // Small sets are read often enough for a part to last.
  const std::int64_t n_passes =
      std::max<std::int64_t>(1, (64 << 20) / static_cast<std::int64_t>(bytes.size()));
  const double seconds = best_seconds([&] {
    threads.parallel_for(n_parts, 1, [&](std::int64_t begin, std::int64_t, int) {
      const auto part = bytes.subspan(static_cast<std::size_t>(begin) * part_bytes, part_bytes);
      for (std::int64_t pass = 0; pass < n_passes; ++pass) {
        sink = static_cast<float>(read_all(isa, part));
      }
    });
  });
  return static_cast<double>(part_bytes) * static_cast<double>(n_parts * n_passes) / seconds;
}

std::vector<Isa> available_isas() {
  std::vector<Isa> isas;
  for (const Isa isa : {Isa::kBaseline, Isa::kAvx2, Isa::kAvx512}) {
    if (is_available(isa)) isas.push_back(isa);
  }
  return isas;
}

std::vector<int> thread_counts() {
  const int n_processors = n_available_processors();
  if (n_processors == 1) return {1};
  return {1, n_processors};
}

std::string processor_name() {
  std::ifstream info("/proc/cpuinfo");
  std::string line;
  while (std::getline(info, line)) {
    const std::size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

Buffer aligned_buffer(std::size_t n_bytes) {
  constexpr std::align_val_t kAlignment{64};
  void* data = ::operator new(n_bytes, kAlignment);
  std::memset(data, 1, n_bytes);  // every page is there before the clock starts
  return {data, n_bytes, [](void* p, std::size_t) { ::operator delete(p, kAlignment); }};
}

Machine machine_from(const Json& json) {
  Machine machine;
  json.at("processor").get_to(machine.processor);
  json.at("n_processors").get_to(machine.n_processors);
  for (const Json& rate : json.at("multiply_adds")) {
    machine.multiply_adds.push_back(
        {rate.at("unit"), rate.at("isa"), rate.at("n_threads"), rate.at("flop_per_s")});
  }
  for (const Json& rate : json.at("reads")) {
    machine.reads.push_back(
        {rate.at("n_threads"), rate.at("working_set_bytes"), rate.at("bytes_per_s")});
  }
  return machine;
}

// The rate of the smallest set that holds `n_bytes`, else of the largest; 0 if there is none.
double read_rate(const Machine& machine, int n_threads, double n_bytes) {
  const auto size = [](const ReadRate& rate) {
    return static_cast<double>(rate.working_set_bytes);
  };
  const ReadRate* best = nullptr;
  for (const ReadRate& rate : machine.reads) {
    if (rate.n_threads != n_threads) continue;
    const bool better = best == nullptr ||
                        (size(*best) < n_bytes ? size(rate) > size(*best)
                                               : size(rate) >= n_bytes && size(rate) < size(*best));
    if (better) best = &rate;
  }
  return best == nullptr ? 0 : best->bytes_per_s;
}

}  // namespace

Machine measure_machine(const MeasureFn& on_measure) {
  const auto announce = [&](const std::string& what) {
    if (on_measure) on_measure(what);
  };
  const std::vector<Isa> isas = available_isas();
  Machine machine;
  machine.processor = processor_name();
  machine.n_processors = n_available_processors();
  for (const int n_threads : thread_counts()) {
    ThreadPool threads(n_threads);
    for (const Isa isa : isas) {
      for (const MultiplyAdd unit : {MultiplyAdd::kF32, MultiplyAdd::kBf16, MultiplyAdd::kInt8}) {
        if (!is_available(unit, isa)) continue;
        announce(fmt::format("{} multiply-adds, {}, {} threads", multiply_add_name(unit),
                             isa_name(isa), n_threads));
        machine.multiply_adds.push_back({std::string(multiply_add_name(unit)),
                                         std::string(isa_name(isa)), n_threads,
                                         measure_multiply_adds(threads, unit, isa)});
      }
    }
    const Buffer buffer = aligned_buffer(static_cast<std::size_t>(kWorkingSets.back()));
    for (const std::int64_t n_bytes : kWorkingSets) {
      announce(fmt::format("reads of {} KiB, {} threads", n_bytes >> 10, n_threads));
      const std::span<const std::byte> bytes{buffer.data(), static_cast<std::size_t>(n_bytes)};
      machine.reads.push_back({n_threads, n_bytes, measure_read(threads, isas.back(), bytes)});
    }
  }
  return machine;
}

std::filesystem::path default_machine_path() {
  const auto cache = env_cache_directory();
  if (!cache) return {};
  return std::filesystem::path(*cache) / "precis" / "machine.json";
}

std::string machine_json(const Machine& machine) {
  Json out = {{"processor", machine.processor},
              {"n_processors", machine.n_processors},
              {"multiply_adds", Json::array()},
              {"reads", Json::array()}};
  for (const MultiplyAddRate& rate : machine.multiply_adds) {
    out["multiply_adds"].push_back({{"unit", rate.unit},
                                    {"isa", rate.isa},
                                    {"n_threads", rate.n_threads},
                                    {"flop_per_s", rate.flop_per_s}});
  }
  for (const ReadRate& rate : machine.reads) {
    out["reads"].push_back({{"n_threads", rate.n_threads},
                            {"working_set_bytes", rate.working_set_bytes},
                            {"bytes_per_s", rate.bytes_per_s}});
  }
  return out.dump(2) + "\n";
}

Result<Machine> read_machine(const std::filesystem::path& path) {
  PRECIS_ASSIGN_OR_RETURN(const std::string text, read_text_file(path, kMaxMachineFileBytes));
  try {
    return machine_from(Json::parse(text));
  } catch (const nlohmann::json::exception& e) {
    return Error{ErrorCode::kCorrupt,
                 fmt::format("{}: want a file that `precis bench machine` wrote, found: {}",
                             path.string(), e.what())};
  }
}

Result<void> write_machine(const Machine& machine, const std::filesystem::path& path) {
  std::error_code failed;
  if (path.has_parent_path()) std::filesystem::create_directories(path.parent_path(), failed);
  if (failed) {
    return Error{ErrorCode::kIo, fmt::format("{}: cannot make this directory: {}",
                                             path.parent_path().string(), failed.message())};
  }
  const std::string text = machine_json(machine);
  PRECIS_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(path));
  PRECIS_TRY(file.write(std::as_bytes(std::span(text))));
  return file.commit();
}

Result<Peak> peak_of(const Machine& machine, std::string_view isa, int n_threads,
                     double working_set_bytes) {
  Peak peak;
  for (const MultiplyAddRate& rate : machine.multiply_adds) {
    if (rate.isa != isa || rate.n_threads != n_threads) continue;
    if (rate.unit == "f32") peak.f32_flop_per_s = rate.flop_per_s;
    if (rate.unit == "int8") peak.int8_flop_per_s = rate.flop_per_s;
  }
  peak.bytes_per_s = read_rate(machine, n_threads, working_set_bytes);
  if (peak.bytes_per_s <= 0 || peak.f32_flop_per_s <= 0) {
    return Error{ErrorCode::kUnsupported,
                 fmt::format("the machine was not measured on {} with {} threads: run `precis "
                             "bench machine` here",
                             isa, n_threads)};
  }
  if (peak.int8_flop_per_s <= 0) peak.int8_flop_per_s = peak.f32_flop_per_s;
  peak.fp8_flop_per_s = peak.fp4_flop_per_s = peak.bf16_flop_per_s = peak.f32_flop_per_s;
  return peak;
}

}  // namespace precis
