// Files: mapped for reading, replaced as a whole for writing.
//
// Owns every system call on regular files.  A reader sees a file as a span of bytes; a writer
// either puts the complete file in place or leaves what stood there before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "precis/status.h"

namespace precis {

/// How a part of a mapped file is about to be used; a hint to the kernel's page cache.
enum class Access { kNormal, kSequential, kRandom, kWillNeed, kDontNeed };

/// A file mapped read-only.  The bytes keep their address when the object moves.
class MappedFile {
 public:
  /// Maps a regular file; an empty file gives an empty span.
  ///
  /// Requires  nobody shrinks the file while it is mapped (the kernel answers a read past the end
  ///           with SIGBUS)
  /// Errors    kNotFound — no such file; kIo — not a regular file, or the system refused
  /// Cost      reads nothing; pages come in when touched
  static Result<MappedFile> open(const std::filesystem::path& path);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return bytes_; }
  std::size_t n_bytes() const { return bytes_.size(); }

  /// Tells the kernel how [offset, offset + n_bytes) will be used.  kDontNeed drops the pages from
  /// this process; reading them again is correct and costs a fault.
  ///
  /// Requires  the range lies within the file
  /// Errors    none; a hint that the kernel refuses is ignored
  /// Threads   any
  void advise(Access access, std::size_t offset, std::size_t n_bytes) const;

 private:
  explicit MappedFile(std::span<const std::byte> bytes) : bytes_(bytes) {}

  std::span<const std::byte> bytes_;
};

/// Reads a whole file of at most `max_bytes` bytes.
///
/// Errors    kNotFound — no such file; kCorrupt — longer than max_bytes; kIo — the system refused
/// Cost      one read of the file into memory
Result<std::string> read_text_file(const std::filesystem::path& path, std::size_t max_bytes);

/// A file that appears under its name complete, or not at all.
///
/// Bytes go to a temporary file in the same directory, which commit() syncs and renames over
/// `path`. Without commit(), or after any error, the temporary file is removed and `path` is
/// untouched.
class AtomicFile {
 public:
  /// Starts a replacement of `path`.
  ///
  /// Errors    kNotFound — no such directory; kIo — `path` is a directory, device or pipe, or the
  ///           system refused
  static Result<AtomicFile> create(const std::filesystem::path& path);

  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&& other) noexcept;
  ~AtomicFile();

  /// Appends `bytes`.
  ///
  /// Requires  not committed, no earlier error
  /// Errors    kIo — full disk or another refusal; the temporary file is gone
  Result<void> write(std::span<const std::byte> bytes);

  /// Makes the file durable and puts it in place: fsync, rename, fsync of the directory.
  ///
  /// Requires  not committed, no earlier error
  /// Errors    kIo — the system refused; `path` is untouched unless only the last step failed, in
  ///           which case the complete file is in place but may not survive a power cut
  /// Cost      blocks until the device has the bytes
  Result<void> commit();

  std::uint64_t n_bytes_written() const { return n_bytes_written_; }

 private:
  AtomicFile(std::filesystem::path path, std::filesystem::path temporary, int descriptor);
  void discard();
  Error fail(const char* action, std::uint64_t n_bytes, int error_number);

  std::filesystem::path path_;
  std::filesystem::path temporary_;
  int descriptor_ = -1;  // -1: committed, failed or moved from
  std::uint64_t n_bytes_written_ = 0;
};

/// For tests: while it lives, all writes through AtomicFile together pass `n_bytes` bytes and then
/// fail with `error_number` (ENOSPC for a full disk), a sync counting as a write of no bytes once
/// none are left.
///
/// Threads   one at a time in a process
class ScopedWriteFault {
 public:
  ScopedWriteFault(std::uint64_t n_bytes, int error_number);
  ~ScopedWriteFault();
  ScopedWriteFault(const ScopedWriteFault&) = delete;
  ScopedWriteFault& operator=(const ScopedWriteFault&) = delete;
};

}  // namespace precis
