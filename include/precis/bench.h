// Measurements of this machine and of an opened model, as values: what it can do at most, how fast
// a model reads and writes tokens at a given context, and where the time goes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "precis/engine.h"
#include "precis/plan.h"
#include "precis/session.h"
#include "precis/status.h"

namespace precis {

/// Multiply-adds from registers, the most of several runs.
struct MultiplyAddRate {
  std::string unit;  // "f32", "bf16" or "int8"
  std::string isa;   // "avx512", "avx2" or "baseline"
  int n_threads = 0;
  double flop_per_s = 0;  // a multiply and an add count two
};

/// Plain reads of a working set again and again, the most of several runs.
struct ReadRate {
  int n_threads = 0;
  std::int64_t working_set_bytes = 0;  // of all threads together
  double bytes_per_s = 0;
};

/// What a machine does at most.
struct Machine {
  std::string processor;  // as the system names it
  int n_processors = 0;
  std::vector<MultiplyAddRate> multiply_adds;
  std::vector<ReadRate> reads;
};

/// Called before each measurement with what is measured next.
using MeasureFn = std::function<void(const std::string& what)>;

/// Measures every instruction set of this processor, on one and on all processors.
///
/// Errors    none
/// Cost      a few seconds with every processor busy; 256 MiB
Machine measure_machine(const MeasureFn& on_measure = {});

/// $XDG_CACHE_HOME or ~/.cache, and there precis/machine.json; empty where neither is set.
std::filesystem::path default_machine_path();

/// The machine as the JSON that read_machine() accepts.
std::string machine_json(const Machine& machine);

/// Errors    kNotFound — no such file; kCorrupt — not what machine_json() writes
Result<Machine> read_machine(const std::filesystem::path& path);

/// Puts machine_json() at `path` and makes the directories above it.
///
/// Errors    kIo, kNotFound — the file cannot be written
Result<void> write_machine(const Machine& machine, const std::filesystem::path& path);

/// The shortest context worth timing, and the least distance between two of them.
inline constexpr std::int64_t kMinFrontierTokens = 128;

/// The context lengths at which speeds are measured.
struct StepBenchOptions {
  EngineOptions engine;  // max_tokens is set from the last frontier
  std::vector<std::int64_t> frontiers;
  int decode_steps = 32;   // the last tokens before a frontier, one step each
  int prefill_chunks = 4;  // the chunks before those, timed together
  std::uint64_t seed = 1;  // of the prompt: uniform token ids
};

/// Speeds at one context length.
struct FrontierSpeed {
  std::int64_t n_tokens = 0;
  std::int64_t n_prefill_timed = 0;
  double prefill_tok_per_s = 0;  // over the timed chunks alone
  double prefill_total_s = 0;    // all prefill from position 0
  int n_decode_timed = 0;
  double decode_p10_s = 0;
  double decode_median_s = 0;
  double decode_p90_s = 0;
  /// Of a session at the first frontier that stepped in turn with this one, in the same seconds; where a
  /// device has no memory for it, of the first frontier itself.
  double first_decode_median_s = 0;
  std::int64_t resident_bytes = 0;
  std::int64_t peak_resident_bytes = 0;
  std::int64_t kv_bytes = 0;  // held by the session
  KvBytes kv_planned;         // what Engine::plan said beforehand

  double decode_tok_per_s() const { return decode_median_s > 0 ? 1 / decode_median_s : 0; }
  /// Decoding speed as a share of that at the first frontier.
  double decode_of_first() const {
    return decode_median_s > 0 ? first_decode_median_s / decode_median_s : 0;
  }
};

/// What a speed bench ran on, and its results.
struct StepBench {
  ModelInfo model;
  MemoryPlan plan;  // at the last frontier
  double kv_bytes_per_token = 0;
  int chunk_tokens = 0;
  std::vector<FrontierSpeed> speeds;
};

/// Called with each frontier's result as soon as it is there.
using FrontierFn = std::function<void(const FrontierSpeed&)>;

/// Runs one session through all frontiers and measures, just before each, the speed of prefill
/// over a few chunks and of single steps.
///
/// Errors    kInvalidArgument — no frontier, one below kMinFrontierTokens or beyond the model's
///           max_position_embeddings, or not in ascending order and kMinFrontierTokens apart;
///           decode_steps or prefill_chunks below 1; as Engine::open and Session::sync
/// Cost      one forward pass over the last frontier's tokens
Result<StepBench> bench_step(const StepBenchOptions& options, const ProgressFn& progress = {},
                             const FrontierFn& on_frontier = {});

/// Time, work and bound of all calls of one kind.
struct OpProfile {
  std::string op;  // "attend heavy", "linear 256x1024 fp8", …
  std::int64_t n_calls = 0;
  double seconds = 0;
  double flop = 0;
  double bytes = 0;
  double bound_s = 0;  // 0 where no machine was given

  double of_bound() const { return seconds > 0 ? bound_s / seconds : 0; }
};

/// Where the time of some tokens went; most expensive first.
struct Profile {
  std::int64_t n_tokens = 0;
  double seconds = 0;  // wall time of the whole steps
  std::vector<OpProfile> ops;
};

struct ProfileOptions {
  EngineOptions engine;  // max_tokens is set from `context`
  std::int64_t context = 0;
  int decode_steps = 32;
  std::uint64_t seed = 1;
};

/// A profile of the whole prefill, of its last chunks, and of decode behind it.
struct StepProfile {
  std::int64_t context = 0;
  int chunk_tokens = 0;
  int n_threads = 0;
  std::string isa;
  Profile prefill;     // every chunk
  Profile last_chunk;  // the last full one
  Profile decode;      // decode_steps single tokens that end at `context`
};

/// Times every operation of a prefill of `context` tokens and of single steps at its end.
///
/// `machine`, where given, provides the bounds.
/// Errors    as bench_step; kUnsupported — `machine` lacks the instruction set or thread count that
///           runs
/// Cost      one forward pass; timing itself adds well under a microsecond a call
Result<StepProfile> profile_step(const ProfileOptions& options,
                                 const std::optional<Machine>& machine,
                                 const ProgressFn& progress = {});

}  // namespace precis
