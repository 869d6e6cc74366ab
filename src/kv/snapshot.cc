#include "kv/snapshot.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/file.h"
#include "base/integers.h"
#include "xxhash.h"

namespace precis {
namespace {

constexpr std::uint32_t kMagic = 0x5653'5250;  // "PRSV" on disk
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kHeaderBytes = 64;
constexpr std::size_t kChecksumBytes = 8;
constexpr std::int64_t kPagesAtOnce = 64;  // 27 MiB of V4-Flash

struct Header {
  SnapshotIdentity identity;
  std::uint64_t n_tokens = 0;
  std::uint64_t fixed_bytes = 0;
  std::uint64_t page_bytes = 0;
  std::uint64_t n_pages = 0;

  std::uint64_t payload_bytes() const {
    return 4 * n_tokens + 4 * std::uint64_t{identity.vocab_size} + fixed_bytes +
           page_bytes * n_pages;
  }
};

std::uint64_t checksum(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

std::vector<std::byte> encode(const Header& header) {
  std::vector<std::byte> out(kHeaderBytes);
  put_le(&out[0], kMagic);
  put_le(&out[4], kVersion);
  put_le(&out[8], header.identity.model_fingerprint);
  put_le(&out[16], header.identity.mode);
  put_le(&out[20], header.identity.vocab_size);
  put_le(&out[24], header.n_tokens);
  put_le(&out[32], header.fixed_bytes);
  put_le(&out[40], header.page_bytes);
  put_le(&out[48], header.n_pages);
  put_le(&out[56], checksum(std::span(out).first(56)));
  return out;
}

Error corrupt(const std::filesystem::path& path, std::string sentence) {
  return {ErrorCode::kCorrupt, fmt::format("{}: {}", path.string(), sentence)};
}

Result<Header> decode(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  if (bytes.size() < kHeaderBytes + kChecksumBytes) {
    return corrupt(path, fmt::format("want a saved session of at least {} bytes, found {}",
                                     kHeaderBytes + kChecksumBytes, bytes.size()));
  }
  const std::byte* at = bytes.data();
  if (get_le<std::uint32_t>(at) != kMagic) {
    return corrupt(path, "want a saved session (it would begin with \"PRSV\")");
  }
  const auto version = get_le<std::uint32_t>(at + 4);
  if (version != kVersion) {
    return Error{ErrorCode::kUnsupported, fmt::format("{}: want format version {}, found {}",
                                                      path.string(), kVersion, version)};
  }
  if (get_le<std::uint64_t>(at + 56) != checksum(bytes.first(56))) {
    return corrupt(path, "the header's checksum does not fit its bytes");
  }
  Header header;
  header.identity.model_fingerprint = get_le<std::uint64_t>(at + 8);
  header.identity.mode = get_le<std::uint32_t>(at + 16);
  header.identity.vocab_size = get_le<std::uint32_t>(at + 20);
  header.n_tokens = get_le<std::uint64_t>(at + 24);
  header.fixed_bytes = get_le<std::uint64_t>(at + 32);
  header.page_bytes = get_le<std::uint64_t>(at + 40);
  header.n_pages = get_le<std::uint64_t>(at + 48);
  return header;
}

Result<void> check_fits(const std::filesystem::path& path, const Header& header,
                        const SnapshotIdentity& identity, const KvCache& cache) {
  auto unsupported = [&](std::string sentence) {
    return Error{ErrorCode::kUnsupported, fmt::format("{}: {}", path.string(), sentence)};
  };
  if (header.identity.model_fingerprint != identity.model_fingerprint) {
    return unsupported(
        fmt::format("saved with another model (fingerprint {:016x}, this one has "
                    "{:016x})",
                    header.identity.model_fingerprint, identity.model_fingerprint));
  }
  if (header.identity.mode != identity.mode) {
    return unsupported(fmt::format("saved in mode {}, this session runs in mode {}",
                                   header.identity.mode == 0 ? "release" : "f32",
                                   identity.mode == 0 ? "release" : "f32"));
  }
  if (header.identity.vocab_size != identity.vocab_size ||
      header.fixed_bytes != static_cast<std::uint64_t>(cache.fixed_bytes()) ||
      header.page_bytes != static_cast<std::uint64_t>(cache.page_bytes())) {
    return unsupported("its vocabulary or cache layout is not this model's");
  }
  if (header.n_tokens == 0 || header.n_tokens > static_cast<std::uint64_t>(cache.max_tokens())) {
    return Error{ErrorCode::kBudget,
                 fmt::format("{}: holds {} tokens, this session can hold {}", path.string(),
                             header.n_tokens, cache.max_tokens())};
  }
  const std::uint64_t want_pages =
      header.page_bytes == 0 ? 0 : ceil_div<std::uint64_t>(header.n_tokens, kPagePositions);
  if (header.n_pages != want_pages) {
    return corrupt(path, fmt::format("want {} pages for {} tokens, found {}", want_pages,
                                     header.n_tokens, header.n_pages));
  }
  return {};
}

template <typename T>
std::vector<T> take(std::span<const std::byte>& bytes, std::size_t n) {
  std::vector<T> out(n);
  std::memcpy(out.data(), bytes.data(), n * sizeof(T));
  bytes = bytes.subspan(n * sizeof(T));
  return out;
}

}  // namespace

static_assert(std::endian::native == std::endian::little,
              "tokens, logits and rows are stored as this machine holds them");

Result<void> write_snapshot(const std::filesystem::path& path, const SnapshotIdentity& identity,
                            std::span<const std::int32_t> tokens, std::span<const float> logits,
                            const KvCache& cache) {
  PRECIS_CHECK_EQ(static_cast<std::int64_t>(tokens.size()), cache.n_tokens());
  PRECIS_CHECK_EQ(logits.size(), identity.vocab_size);
  const Header header{identity, tokens.size(), static_cast<std::uint64_t>(cache.fixed_bytes()),
                      static_cast<std::uint64_t>(cache.page_bytes()),
                      static_cast<std::uint64_t>(cache.n_pages())};
  PRECIS_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::create(path));
  PRECIS_TRY(file.write(encode(header)));

  XXH3_state_t* state = XXH3_createState();
  XXH3_64bits_reset(state);
  auto put = [&](std::span<const std::byte> bytes) {
    XXH3_64bits_update(state, bytes.data(), bytes.size());
    return file.write(bytes);
  };
  auto put_all = [&]() -> Result<void> {
    PRECIS_TRY(put(std::as_bytes(tokens)));
    PRECIS_TRY(put(std::as_bytes(logits)));
    std::vector<std::byte> part(static_cast<std::size_t>(cache.fixed_bytes()));
    cache.copy_out_fixed(part);
    PRECIS_TRY(put(part));
    for (std::int64_t i = 0; i < cache.n_pages(); i += kPagesAtOnce) {
      const std::int64_t n = std::min(kPagesAtOnce, cache.n_pages() - i);
      part.resize(static_cast<std::size_t>(n * cache.page_bytes()));
      cache.copy_out_pages(i, part);
      PRECIS_TRY(put(part));
    }
    return {};
  };
  auto written = put_all();
  std::vector<std::byte> tail(kChecksumBytes);
  put_le(tail.data(), static_cast<std::uint64_t>(XXH3_64bits_digest(state)));
  XXH3_freeState(state);
  PRECIS_TRY(std::move(written));
  PRECIS_TRY(file.write(tail));
  return file.commit();
}

Result<SnapshotContent> read_snapshot(const std::filesystem::path& path,
                                      const SnapshotIdentity& identity, KvCache& cache) {
  PRECIS_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(path));
  PRECIS_ASSIGN_OR_RETURN(const Header header, decode(path, file.bytes()));
  PRECIS_TRY(check_fits(path, header, identity, cache));
  const std::uint64_t want_bytes = kHeaderBytes + header.payload_bytes() + kChecksumBytes;
  if (file.n_bytes() != want_bytes) {
    return corrupt(path, fmt::format("want {} bytes, found {}", want_bytes, file.n_bytes()));
  }
  std::span<const std::byte> payload =
      file.bytes().subspan(kHeaderBytes, static_cast<std::size_t>(header.payload_bytes()));
  if (get_le<std::uint64_t>(payload.data() + payload.size()) != checksum(payload)) {
    return corrupt(path, "the content's checksum does not fit its bytes");
  }

  SnapshotContent content;
  content.tokens = take<std::int32_t>(payload, header.n_tokens);
  for (const std::int32_t token : content.tokens) {
    if (token < 0 || token >= static_cast<std::int64_t>(identity.vocab_size)) {
      return corrupt(path,
                     fmt::format("want tokens below {}, found {}", identity.vocab_size, token));
    }
  }
  content.logits = take<float>(payload, identity.vocab_size);
  cache.begin_restore(static_cast<std::int64_t>(header.n_tokens),
                      payload.first(header.fixed_bytes));
  payload = payload.subspan(header.fixed_bytes);
  cache.copy_in_pages(0, payload);
  return content;
}

}  // namespace precis
