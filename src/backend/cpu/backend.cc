#include "backend/cpu/backend.h"

#include <cstdlib>
#include <cstring>

#include <sys/mman.h>

#include "backend/cpu/weight.h"
#include "base/check.h"

namespace precis {

CpuBackend::CpuBackend(ThreadPool& threads, Isa isa)
    : threads_(threads),
      isa_(isa),
      worker_scratch_(static_cast<std::size_t>(threads.n_threads())) {}

namespace {

// From this size on a buffer gets a mapping of its own.  A checkpoint has tens of thousands of
// small tensors, and the kernel allows a process about 65,000 mappings.
constexpr std::size_t kMappedBytes = std::size_t{1} << 20;
constexpr std::size_t kAlignment = 64;

Buffer allocate_small(std::size_t n_bytes) {
  const std::size_t padded = (n_bytes + kAlignment - 1) / kAlignment * kAlignment;
  void* data = std::aligned_alloc(kAlignment, padded);
  PRECIS_CHECK(data != nullptr);
  std::memset(data, 0, padded);
  return {data, n_bytes, [](void* memory, std::size_t) { std::free(memory); }};
}

}  // namespace

// Anonymous mappings are zeroed and take memory page by page as they are touched: a context of a
// million positions costs nothing until it is used.
Buffer CpuBackend::allocate(std::size_t n_bytes) {
  if (n_bytes == 0) return {};
  if (n_bytes < kMappedBytes) return allocate_small(n_bytes);
  void* data = mmap(nullptr, n_bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  PRECIS_CHECK(data != MAP_FAILED);
  return {data, n_bytes, [](void* mapped, std::size_t size) { munmap(mapped, size); }};
}

void CpuBackend::copy_in(std::byte* device, std::span<const std::byte> host) {
  if (!host.empty()) std::memcpy(device, host.data(), host.size());
}

void CpuBackend::copy_out(std::span<std::byte> host, const std::byte* device) {
  if (!host.empty()) std::memcpy(host.data(), device, host.size());
}

std::size_t CpuBackend::weight_bytes(const WeightSource& source) const {
  return CpuWeight::layout_bytes(source);
}

std::unique_ptr<Weight> CpuBackend::load_weight(const WeightSource& source) {
  auto weight = std::make_unique<CpuWeight>(source, allocate(CpuWeight::layout_bytes(source)));
  // About a quarter of a megabyte of codes for each chunk: enough to outweigh handing it over.
  const std::int64_t grain = 1 + (1 << 18) / (1 + static_cast<std::int64_t>(weight->panel_bytes()));
  threads_.parallel_for(weight->n_panels(), grain, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t i = begin; i < end; ++i) weight->fill_panel(source, i);
  });
  return weight;
}

Result<std::unique_ptr<Backend>> make_cpu_backend(ThreadPool& threads) {
  PRECIS_ASSIGN_OR_RETURN(const Isa isa, choose_isa());
  return std::unique_ptr<Backend>(std::make_unique<CpuBackend>(threads, isa));
}

}  // namespace precis
