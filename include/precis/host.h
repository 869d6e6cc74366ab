// What this process may use and does use of its machine.
#pragma once

#include <cstdint>

namespace precis {

/// Processors this process may run on; at least 1.
int available_processors();

/// Memory of this process as the kernel counts it, mapped files included once touched.
struct ProcessMemory {
  std::int64_t resident_bytes = 0;
  std::int64_t peak_resident_bytes = 0;
};

/// Zeros where the system does not tell.
ProcessMemory process_memory();

}  // namespace precis
