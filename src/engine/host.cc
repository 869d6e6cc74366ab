#include "precis/host.h"

#include <fstream>
#include <limits>
#include <string>

#include "backend/cpu/dispatch.h"
#include "backend/registry.h"
#include "base/threads.h"

namespace precis {

int available_processors() {
  return n_available_processors();
}

Result<std::string> cpu_instruction_set() {
  PRECIS_ASSIGN_OR_RETURN(const Isa isa, choose_isa());
  return std::string(isa_name(isa));
}

Result<std::vector<DeviceInfo>> list_devices() {
  PRECIS_ASSIGN_OR_RETURN(const std::vector<Accelerator> accelerators, list_accelerators());
  std::vector<DeviceInfo> devices;
  for (const Accelerator& a : accelerators) {
    devices.push_back(
        {a.id, a.name, a.isa, a.n_multiprocessors, a.total_bytes, a.free_bytes, a.supported});
  }
  return devices;
}

std::int64_t available_memory() {
  std::ifstream status("/proc/meminfo");
  std::string field;
  while (status >> field) {
    std::int64_t kib = 0;
    if (field == "MemAvailable:" && status >> kib) return kib * 1024;
    status.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return std::numeric_limits<std::int64_t>::max();
}

ProcessMemory process_memory() {
  ProcessMemory memory;
  std::ifstream status("/proc/self/status");
  std::string field;
  while (status >> field) {
    std::int64_t kib = 0;
    if (field == "VmHWM:" && status >> kib) memory.peak_resident_bytes = kib * 1024;
    if (field == "VmRSS:" && status >> kib) memory.resident_bytes = kib * 1024;
    status.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return memory;
}

}  // namespace precis
