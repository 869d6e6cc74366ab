#include "kv/page_pool.h"

#include "base/check.h"

namespace precis {

PagePool::PagePool(Backend& backend, std::int64_t page_bytes)
    : backend_(backend), page_bytes_(page_bytes) {}

std::int32_t PagePool::acquire() {
  if (free_.empty()) {
    const auto first = static_cast<std::int32_t>(references_.size());
    slabs_.push_back(backend_.allocate(static_cast<std::size_t>(page_bytes_) * kPagesPerSlab));
    references_.resize(references_.size() + kPagesPerSlab, 0);
    // Lowest page last, so that pages are handed out in address order.
    for (int i = kPagesPerSlab - 1; i >= 0; --i) free_.push_back(first + i);
  }
  const std::int32_t page = free_.back();
  free_.pop_back();
  references_[static_cast<std::size_t>(page)] = 1;
  ++n_in_use_;
  return page;
}

void PagePool::add_reference(std::int32_t page) {
  PRECIS_CHECK_LT(0, references_[static_cast<std::size_t>(page)]);
  ++references_[static_cast<std::size_t>(page)];
}

void PagePool::release(std::int32_t page) {
  auto& references = references_[static_cast<std::size_t>(page)];
  PRECIS_CHECK_LT(0, references);
  if (--references == 0) {
    free_.push_back(page);
    --n_in_use_;
  }
}

std::byte* PagePool::data(std::int32_t page, const PagePart& part) const {
  return slabs_[static_cast<std::size_t>(page / kPagesPerSlab)].data() +
         kPagesPerSlab * part.offset + page % kPagesPerSlab * part.n_bytes;
}

}  // namespace precis
