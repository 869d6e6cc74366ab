// What this process may use and does use of its machine.
#pragma once

#include <cstdint>
#include <string>

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

/// Memory of this process as the kernel counts it, mapped files included once touched.
struct ProcessMemory {
  std::int64_t resident_bytes = 0;
  std::int64_t peak_resident_bytes = 0;
};

/// Zeros where the system does not tell.
ProcessMemory process_memory();

}  // namespace precis
