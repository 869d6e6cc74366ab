#include "precis/host.h"

#include <fstream>
#include <initializer_list>
#include <limits>
#include <string>
#include <string_view>
#include <utility>

#include "backend/cpu/dispatch.h"
#include "backend/registry.h"
#include "base/threads.h"

namespace precis {
namespace {

// Bytes of the named fields of a file whose lines are such as "VmRSS:  1234 kB"; a size stays as it
// is where the field, or the file, is not there.
void read_sizes(const char* path,
                std::initializer_list<std::pair<std::string_view, std::int64_t*>> sizes) {
  std::ifstream file(path);
  std::string field;
  while (file >> field) {
    for (const auto& [name, bytes] : sizes) {
      std::int64_t kib = 0;
      if (field == name && file >> kib) *bytes = kib * 1024;
    }
    file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
}

}  // namespace

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
  std::int64_t bytes = std::numeric_limits<std::int64_t>::max();
  read_sizes("/proc/meminfo", {{"MemAvailable:", &bytes}});
  return bytes;
}

ProcessMemory process_memory() {
  ProcessMemory memory;
  read_sizes("/proc/self/status",
             {{"VmHWM:", &memory.peak_resident_bytes}, {"VmRSS:", &memory.resident_bytes}});
  return memory;
}

}  // namespace precis
