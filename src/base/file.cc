// System calls behind file.h.  Each failure becomes one sentence with the path and the cause.
#include "base/file.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"

namespace precis {
namespace {

std::string cause(int error_number) {
  return std::generic_category().message(error_number);
}

Error open_error(const std::filesystem::path& path, int error_number) {
  const bool absent = error_number == ENOENT || error_number == ENOTDIR;
  return {absent ? ErrorCode::kNotFound : ErrorCode::kIo,
          fmt::format("{}: cannot open: {}", path.string(), cause(error_number))};
}

class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return value_; }

 private:
  int value_;
};

// Armed by ScopedWriteFault; error number 0 means not armed.
std::atomic<std::int64_t> fault_bytes_left{0};
std::atomic<int> fault_error_number{0};

ssize_t write_some(int descriptor, std::span<const std::byte> bytes) {
  const int error_number = fault_error_number.load();
  if (error_number != 0) {
    const auto allowed = std::min(static_cast<std::int64_t>(bytes.size()),
                                  std::max<std::int64_t>(fault_bytes_left, 0));
    if (allowed == 0) {
      errno = error_number;
      return -1;
    }
    bytes = bytes.first(static_cast<std::size_t>(allowed));
    fault_bytes_left -= allowed;
  }
  return ::write(descriptor, bytes.data(), bytes.size());
}

int sync_descriptor(int descriptor) {
  const int error_number = fault_error_number.load();
  if (error_number != 0 && fault_bytes_left <= 0) {
    errno = error_number;
    return -1;
  }
  return ::fsync(descriptor);
}

std::filesystem::path directory_of(const std::filesystem::path& path) {
  const std::filesystem::path parent = path.parent_path();
  return parent.empty() ? "." : parent;
}

// Unique within the process by the counter, across processes by the id; O_EXCL catches the rest.
std::filesystem::path temporary_name(const std::filesystem::path& path) {
  static std::atomic<std::uint64_t> counter{0};
  return directory_of(path) /
         fmt::format(".{}.{}-{}.tmp", path.filename().string(), ::getpid(), counter++);
}

}  // namespace

Result<MappedFile> MappedFile::open(const std::filesystem::path& path) {
  // O_NONBLOCK: opening a pipe by mistake must fail below, not wait for a writer.
  const Descriptor descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (descriptor.get() < 0) return open_error(path, errno);
  struct stat info {};
  if (::fstat(descriptor.get(), &info) != 0) return open_error(path, errno);
  if (!S_ISREG(info.st_mode)) {
    return Error{ErrorCode::kIo, fmt::format("{}: want a regular file", path.string())};
  }
  const auto n_bytes = static_cast<std::size_t>(info.st_size);
  if (n_bytes == 0) return MappedFile({});
  void* address = ::mmap(nullptr, n_bytes, PROT_READ, MAP_SHARED, descriptor.get(), 0);
  if (address == MAP_FAILED) {
    const int error_number = errno;
    return Error{ErrorCode::kIo, fmt::format("{}: cannot map {} bytes: {}", path.string(), n_bytes,
                                             cause(error_number))};
  }
  return MappedFile({static_cast<const std::byte*>(address), n_bytes});
}

MappedFile::MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

void MappedFile::advise(Access access, std::size_t offset, std::size_t n_bytes) const {
  PRECIS_CHECK_LE(offset, bytes_.size());
  PRECIS_CHECK_LE(n_bytes, bytes_.size() - offset);
  if (n_bytes == 0) return;
  int advice = MADV_NORMAL;
  switch (access) {
    case Access::kNormal: advice = MADV_NORMAL; break;
    case Access::kSequential: advice = MADV_SEQUENTIAL; break;
    case Access::kRandom: advice = MADV_RANDOM; break;
    case Access::kWillNeed: advice = MADV_WILLNEED; break;
    case Access::kDontNeed: advice = MADV_DONTNEED; break;
  }
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t begin = offset / page * page;
  ::madvise(const_cast<std::byte*>(bytes_.data()) + begin, offset + n_bytes - begin, advice);
}

Result<std::string> read_text_file(const std::filesystem::path& path, std::size_t max_bytes) {
  PRECIS_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(path));
  if (file.n_bytes() > max_bytes) {
    return Error{ErrorCode::kCorrupt, fmt::format("{}: want at most {} bytes, found {}",
                                                  path.string(), max_bytes, file.n_bytes())};
  }
  return std::string(reinterpret_cast<const char*>(file.bytes().data()), file.n_bytes());
}

Result<AtomicFile> AtomicFile::create(const std::filesystem::path& path) {
  // Renaming over a device or a pipe would replace it for every other program.
  std::error_code ignored;
  const auto status = std::filesystem::status(path, ignored);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
    return Error{ErrorCode::kIo,
                 path.string() + ": want a regular file or a new name, found something else there"};
  }
  std::filesystem::path temporary = temporary_name(path);
  const int descriptor = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor < 0) return open_error(temporary, errno);
  return AtomicFile(path, std::move(temporary), descriptor);
}

AtomicFile::AtomicFile(std::filesystem::path path, std::filesystem::path temporary, int descriptor)
    : path_(std::move(path)), temporary_(std::move(temporary)), descriptor_(descriptor) {}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::move(other.temporary_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      n_bytes_written_(other.n_bytes_written_) {}

AtomicFile& AtomicFile::operator=(AtomicFile&& other) noexcept {
  if (this == &other) return *this;
  discard();
  path_ = std::move(other.path_);
  temporary_ = std::move(other.temporary_);
  descriptor_ = std::exchange(other.descriptor_, -1);
  n_bytes_written_ = other.n_bytes_written_;
  return *this;
}

AtomicFile::~AtomicFile() {
  discard();
}

void AtomicFile::discard() {
  if (descriptor_ < 0) return;
  ::close(std::exchange(descriptor_, -1));
  ::unlink(temporary_.c_str());
}

Error AtomicFile::fail(const char* action, std::uint64_t n_bytes, int error_number) {
  discard();
  return {ErrorCode::kIo, fmt::format("{}: cannot {} {} bytes: {}", path_.string(), action, n_bytes,
                                      cause(error_number))};
}

Result<void> AtomicFile::write(std::span<const std::byte> bytes) {
  PRECIS_CHECK_LE(0, descriptor_);
  while (!bytes.empty()) {
    const ssize_t n = write_some(descriptor_, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail("write", bytes.size(), errno);
    bytes = bytes.subspan(static_cast<std::size_t>(n));
    n_bytes_written_ += static_cast<std::uint64_t>(n);
  }
  return {};
}

Result<void> AtomicFile::commit() {
  PRECIS_CHECK_LE(0, descriptor_);
  if (sync_descriptor(descriptor_) != 0) return fail("sync", n_bytes_written_, errno);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    return fail("put in place", n_bytes_written_, errno);
  }
  ::close(std::exchange(descriptor_, -1));

  // The rename itself lives in the directory; without this a power cut may undo it.
  const std::filesystem::path directory = directory_of(path_);
  const Descriptor handle(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (handle.get() < 0 || ::fsync(handle.get()) != 0) {
    const int error_number = errno;
    return Error{ErrorCode::kIo, fmt::format("{}: cannot sync the directory: {}",
                                             directory.string(), cause(error_number))};
  }
  return {};
}

ScopedWriteFault::ScopedWriteFault(std::uint64_t n_bytes, int error_number) {
  PRECIS_CHECK_EQ(fault_error_number.load(), 0);
  fault_bytes_left = static_cast<std::int64_t>(n_bytes);
  fault_error_number = error_number;
}

ScopedWriteFault::~ScopedWriteFault() {
  fault_error_number = 0;
}

}  // namespace precis
