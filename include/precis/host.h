// What this process may use and does use of its machine.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "precis/status.h"

namespace precis {

/// Processors this process may run on; at least 1.
int available_processors();

/// The instruction set that the CPU backend runs on: "avx512", "avx2" or "baseline"; the one that
/// the environment variable PRECIS_FORCE_ISA names, else the best of this processor.
///
/// Errors    kInvalidArgument — PRECIS_FORCE_ISA names one that is unknown or not there;
///           kUnsupported — the processor has none of them
Result<std::string> cpu_instruction_set();

/// A device other than the processor.
struct DeviceInfo {
  std::string id;    // "cuda:0"
  std::string name;  // as its driver calls it
  std::string isa;   // "compute 9.0"
  int n_multiprocessors = 0;
  std::int64_t total_bytes = 0;
  std::int64_t free_bytes = 0;
  bool supported = false;  // a backend of this program runs on it
};

/// The devices that this program can see besides the processor.
///
/// Errors    kUnsupported — built without a backend for any, no driver, or no device: why
Result<std::vector<DeviceInfo>> list_devices();

/// Memory of this process as the kernel counts it, mapped files included once touched.
struct ProcessMemory {
  std::int64_t resident_bytes = 0;
  std::int64_t peak_resident_bytes = 0;
};

/// Memory that new allocations can take without swapping; the most there can be where the system
/// does not tell.
std::int64_t available_memory();

/// Zeros where the system does not tell.
ProcessMemory process_memory();

}  // namespace precis
