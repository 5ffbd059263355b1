// Readers and writers against files that NumPy and the safetensors package wrote, and against
// damage.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "tandem/core/error.h"
#include "tandem/core/factory.h"
#include "tandem/io/file.h"
#include "tandem/io/gz.h"
#include "tandem/io/idx.h"
#include "tandem/io/npy.h"
#include "tandem/io/onnx_file.h"
#include "tandem/io/safetensors.h"
#include "tandem/op/copy.h"
#include "tests/support/errors.h"
#include "tests/support/folder.h"

namespace {

using namespace tandem;
using tandem::testing::error_of;
using tandem::testing::TemporaryFolder;
namespace fs = std::filesystem;
using Bytes = std::vector<uint8_t>;

std::string corpus(const std::string& name) {
  return std::string(TANDEM_SOURCE_DIR "/tests/fuzz/corpus/") + name;
}

Bytes read_bytes(const std::string& path) {
  const auto file = MappedFile::open(path);
  return Bytes(file->bytes().begin(), file->bytes().end());
}

/// What make_io.py's values() gives, as doubles.
void expect_values(const Tensor& t, const Shape& shape, DType dtype, char kind) {
  ASSERT_EQ(t.spec(), (Spec{shape, dtype, {}}));
  ASSERT_TRUE(t.is_contiguous());
  const std::vector<double> v = detail::as_contiguous(t, f64).to_vector<double>();
  for (size_t i = 0; i < v.size(); ++i) {
    const double n = double(i);
    const double want = kind == 'f'   ? (n - 3) / 2
                        : kind == 'i' ? n - 3
                        : kind == 'u' ? n
                                      : i % 3 == 0;
    ASSERT_EQ(v[i], want) << "element " << i;
  }
}

struct NpyCase {
  const char* file;
  DType dtype;
  char kind;
};

TEST(Npy, ReadsWhatNumpyWrote) {
  const NpyCase cases[] = {
      {"f2", f16, 'f'},     {"f4", f32, 'f'},     {"f8", f64, 'f'},     {"i1", i8, 'i'},
      {"u1", u8, 'u'},      {"i2", i16, 'i'},     {"u2", u16, 'u'},     {"i4", i32, 'i'},
      {"u4", u32, 'u'},     {"i8", i64, 'i'},     {"u8", u64, 'u'},     {"b1", boolean, 'b'},
      {"big_f4", f32, 'f'}, {"big_f8", f64, 'f'}, {"big_f2", f16, 'f'}, {"big_i2", i16, 'i'},
      {"big_u4", u32, 'u'}, {"big_u8", u64, 'u'}, {"big_i8", i64, 'i'}, {"v2_f4", f32, 'f'},
      {"v3_f4", f32, 'f'},  {"bf16", bf16, 'f'}};
  for (const NpyCase& c : cases) {
    SCOPED_TRACE(c.file);
    expect_values(load_npy(corpus(cat("npy/", c.file, "_3x4.npy"))), {3, 4}, c.dtype, c.kind);
  }
  expect_values(load_npy(corpus("npy/fortran_f4_2x3x4.npy")), {2, 3, 4}, f32, 'f');
  expect_values(load_npy(corpus("npy/empty_f4_0x3.npy")), {0, 3}, f32, 'f');
  expect_values(load_npy(corpus("npy/one_i8_5.npy")), {5}, i64, 'i');
  const Tensor zero_d = load_npy(corpus("npy/zero_d_f8.npy"));
  EXPECT_EQ(zero_d.dim(), 0);
  EXPECT_EQ(zero_d.item<double>(), 2.5);
}

TEST(Npy, RefusesWhatHasNoDtype) {
  const auto text = [](const char* name) {
    const Bytes b = read_bytes(corpus(cat("npy/bad_", name, ".npy")));
    return error_of<IOError>([&] { parse_npy(b, "x.npy"); });
  };
  EXPECT_EQ(text("object"),
            "x.npy: byte 10: descr '|O': object arrays hold Python pickles and cannot be read");
  EXPECT_EQ(text("struct"), "x.npy: byte 20: structured arrays cannot be read, only plain numbers");
  EXPECT_EQ(text("complex"), "x.npy: byte 10: descr '<c8': complex numbers have no Tandem dtype");
  EXPECT_EQ(text("string"), "x.npy: byte 10: descr '<U2': strings have no Tandem dtype");
}

TEST(Npy, WritesTheSameBytesAsNumpy) {
  const TemporaryFolder folder;
  for (const char* name :
       {"f2_3x4", "f4_3x4", "f8_3x4", "i1_3x4", "u1_3x4", "i2_3x4", "u2_3x4", "i4_3x4", "u4_3x4",
        "i8_3x4", "u8_3x4", "b1_3x4", "zero_d_f8", "empty_f4_0x3", "one_i8_5"}) {
    SCOPED_TRACE(name);
    const std::string original = corpus(cat("npy/", name, ".npy")), copy = folder / "x.npy";
    save_npy(copy, load_npy(original));
    EXPECT_EQ(read_bytes(copy), read_bytes(original));
  }
  // A strided tensor is written row by row, bf16 as raw two-byte elements.
  Tensor t = load_npy(corpus("npy/f4_3x4.npy"));
  save_npy(folder / "t.npy", detail::alias(t, {4, 3}, {1, 4}, 0));
  EXPECT_EQ(load_npy(folder / "t.npy").to_vector<float>()[1], t.to_vector<float>()[4]);
  save_npy(folder / "b.npy", load_npy(corpus("npy/bf16_3x4.npy")));
  expect_values(load_npy(folder / "b.npy"), {3, 4}, bf16, 'f');
}

TEST(Npz, ReadsAndWrites) {
  for (const char* name : {"stored", "deflated"}) {
    SCOPED_TRACE(name);
    auto arrays = load_npz(corpus(cat("npz/", name, ".npz")));
    ASSERT_EQ(arrays.size(), 3u);
    expect_values(arrays["a"], {3, 4}, f32, 'f');
    expect_values(arrays["b/c"], {2, 5}, i64, 'i');
    EXPECT_EQ(arrays["d"].item<double>(), 2.5);
  }
  auto arrays = load_npz(corpus("npz/zip64_comment.npz"));
  expect_values(arrays["a"], {3, 4}, f32, 'f');
  EXPECT_EQ(arrays["note.txt"].to_vector<uint8_t>(),
            (std::vector<uint8_t>{'h', 'e', 'l', 'l', 'o'}));

  const TemporaryFolder folder;
  for (const bool compressed : {false, true}) {
    save_npz(folder / "x.npz", {{"long", zeros({100, 1000})}, {"a", arrays["a"]}},
             {.compressed = compressed});
    auto again = load_npz(folder / "x.npz");
    ASSERT_EQ(again.size(), 2u);
    expect_values(again["a"], {3, 4}, f32, 'f');
    EXPECT_EQ(again["long"].shape(), (Shape{100, 1000}));
    EXPECT_EQ(fs::file_size(folder / "x.npz") < 10000, compressed);
  }
}

TEST(Safetensors, ReadsWhatThePackageWrote) {
  const NamedTensors list = load_safetensors(corpus("safetensors/all.safetensors"));
  std::map<std::string, Tensor> tensors(list.begin(), list.end());
  ASSERT_EQ(tensors.size(), 14u);
  const NpyCase cases[] = {{"f8", f64, 'f'}, {"f4", f32, 'f'}, {"f2", f16, 'f'},
                           {"i8", i64, 'i'}, {"i4", i32, 'i'}, {"i2", i16, 'i'},
                           {"i1", i8, 'i'},  {"u8", u64, 'u'}, {"u4", u32, 'u'},
                           {"u2", u16, 'u'}, {"u1", u8, 'u'},  {"b1", boolean, 'b'}};
  for (const NpyCase& c : cases) {
    SCOPED_TRACE(c.file);
    expect_values(tensors[cat("x.", c.file)], {3, 4}, c.dtype, c.kind);
  }
  EXPECT_EQ(tensors["empty"].shape(), (Shape{0, 3}));
  EXPECT_EQ(tensors["zero_d"].item<double>(), 2.5);
  const auto metadata = load_safetensors_metadata(corpus("safetensors/all.safetensors"));
  EXPECT_EQ(metadata.at("made"), "by numpy");
  EXPECT_TRUE(load_safetensors(corpus("safetensors/none.safetensors")).empty());
}

TEST(Safetensors, WritesTheSameBytesAsThePackage) {
  const TemporaryFolder folder;
  const std::string original = corpus("safetensors/all.safetensors");
  save_safetensors(folder / "x", load_safetensors(original), {{"made", "by numpy"}});
  EXPECT_EQ(read_bytes(folder / "x"), read_bytes(original));
  save_safetensors(folder / "none", {});
  EXPECT_EQ(read_bytes(folder / "none"), read_bytes(corpus("safetensors/none.safetensors")));
}

TEST(Safetensors, TensorsLieInTheFile) {
  const TemporaryFolder folder;
  const std::string path = folder / "x.safetensors";
  save_safetensors(path, {{"w", full({1000}, 3, f32)}});
  Tensor w = find(load_safetensors(path), "w");
  const Bytes before = read_bytes(path);
  // Writing touches neither the file nor another mapping, and the file may go while it is mapped.
  w.data<float>()[0] = 7;
  EXPECT_EQ(read_bytes(path), before);
  save_safetensors(path, {{"w", w}});
  fs::remove(path);
  EXPECT_EQ(w.data<float>()[0], 7);
  EXPECT_EQ(w.data<float>()[999], 3);
}

std::string header_error(const std::string& header, size_t data = 0) {
  Bytes b(8 + header.size() + data);
  for (size_t i = 0; i < 8; ++i) b[i] = uint8_t(header.size() >> (8 * i));
  std::copy(header.begin(), header.end(), b.begin() + 8);
  return error_of<IOError>([&] { parse_safetensors(b, "x"); });
}

TEST(Safetensors, RefusesHostileHeaders) {
  const std::string a = R"("a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]})";
  EXPECT_EQ(header_error("{" + a + "}", 2), "no error");
  EXPECT_EQ(header_error("{" + a + "," + a + "}", 2), "x: byte 8: tensor a: the name comes twice");
  EXPECT_EQ(
      header_error(R"({"a":{"dtype":"U8","dtype":"U8","shape":[2],"data_offsets":[0,2]}})", 2),
      "x: byte 8: tensor a: the key dtype comes twice");
  EXPECT_EQ(header_error("{" + a + R"(,"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})", 3),
            "x: byte 115: tensor b starts at 1 of the data, not where the one before it ends (2): "
            "they overlap");
  EXPECT_EQ(header_error("{" + a + R"(,"b":{"dtype":"U8","shape":[2],"data_offsets":[3,5]}})", 5),
            "x: byte 115: tensor b starts at 3 of the data, not where the one before it ends (2): "
            "there is a hole");
  EXPECT_EQ(header_error("{" + a + "}", 3),
            "x: byte 63: the file has 1 bytes that belong to no tensor");
  EXPECT_EQ(header_error("{" + a + "}", 1),
            "x: byte 61: tensor a ends at 2 of the data, the file has 1 bytes of it");
  EXPECT_EQ(header_error(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,2]}})", 2),
            "x: byte 62: tensor a: shape [2] of F32 needs 8 bytes, its data_offsets span 2");
  EXPECT_EQ(
      header_error(R"({"a":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}})", 2),
      "x: byte 8: tensor a: dtype F8_E4M3 cannot be read (F64 F32 F16 BF16 I64 I32 I16 I8 U64 "
      "U32 U16 U8 BOOL can)");
  EXPECT_EQ(header_error(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296,0],)"
                         R"("data_offsets":[0,0]}})"),
            "x: byte 8: tensor a: shape [4294967296, 4294967296, 0] has too many elements");
  EXPECT_EQ(header_error(R"({"a":{"dtype":"U8","shape":[2.5],"data_offsets":[0,2]}})", 2),
            "x: byte 8: tensor a: the number 2.5 is not an integer of 64 bits");
  EXPECT_EQ(header_error(R"({"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,2]}})", 2),
            "x: byte 8: tensor a: a negative number");
  EXPECT_EQ(header_error(R"({"a":{"dtype":"U8","shape":[2]}})", 2),
            "x: byte 8: tensor a: dtype, shape and data_offsets are needed");
  EXPECT_EQ(header_error(R"({"a":[[)" + std::string(100000, '[')),
            "x: byte 8: tensor a: a list where none belongs");
  EXPECT_EQ(header_error("[]"), "x: byte 8: the header must start with {");
  EXPECT_EQ(header_error("{]"), "x: byte 10: the header is not valid JSON");
  EXPECT_EQ(header_error(R"({"__metadata__":{"a":1}})"),
            "x: byte 8: __metadata__: a number where none belongs");
  Bytes huge(8, 0xff);
  EXPECT_EQ(error_of<IOError>([&] { parse_safetensors(huge, "x"); }),
            "x: byte 0: a header of over 2^63 bytes passes the limit of 100000000");
  EXPECT_THROW(save_safetensors("unused", {{"__metadata__", zeros({1})}}), ValueError);
  EXPECT_THROW(save_safetensors("unused", {{"a", zeros({1})}, {"a", zeros({1})}}), ValueError);
}

TEST(Idx, ReadsPlainAndGzipped) {
  const NpyCase cases[] = {{"u1", u8, 'u'},  {"i1", i8, 'i'},  {"i2", i16, 'i'},
                           {"i4", i32, 'i'}, {"f4", f32, 'f'}, {"f8", f64, 'f'}};
  for (const NpyCase& c : cases) {
    SCOPED_TRACE(c.file);
    expect_values(load_idx(corpus(cat("idx/", c.file, "_3x4.idx"))), {3, 4}, c.dtype, c.kind);
  }
  expect_values(load_idx(corpus("idx/u1_2x3x2.idx")), {2, 3, 2}, u8, 'u');
  for (const char* name : {"one", "two_members", "stored"})
    expect_values(load_idx(corpus(cat("gz/", name, ".gz"))), {3, 4}, u8, 'u');
  const Bytes b = read_bytes(corpus("idx/u1_3x4.idx"));
  EXPECT_EQ(error_of<IOError>([&] { parse_idx(std::span(b).first(20), "x"); }),
            "x: byte 12: shape [3, 4] needs 12 bytes, more than the file can hold");
  EXPECT_EQ(error_of<IOError>([&] { parse_idx(std::span(b).first(10), "x"); }),
            "x: byte 10: the file ends inside the list of sizes: 2 of 4 bytes are missing");
  EXPECT_EQ(error_of<IOError>([&] { load_idx(corpus("npy/f4_3x4.npy")); }),
            cat("load_idx(", corpus("npy/f4_3x4.npy"),
                "): byte 0: not an idx file: it must start with two zero bytes"));
}

/// Every reader by the folder of its corpus.
void read_as(const std::string& kind, std::span<const uint8_t> bytes) {
  if (kind == "npy") (void)parse_npy(bytes);
  else if (kind == "npz") (void)parse_npz(bytes);
  else if (kind == "safetensors") (void)parse_safetensors(bytes);
  else (void)parse_idx(bytes);
}

class Damage : public ::testing::TestWithParam<const char*> {};

TEST_P(Damage, CutFilesThrowAtEveryByte) {
  const std::string kind = GetParam();
  for (const auto& entry : fs::directory_iterator(corpus(kind))) {
    if (entry.path().filename().string().starts_with("bad_")) continue;
    const Bytes whole = read_bytes(entry.path().string());
    EXPECT_NO_THROW(read_as(kind, whole)) << entry.path();
    for (size_t n = 0; n < whole.size(); ++n) {
      // A copy of exactly this size, so that sanitizers see a read past its end.
      const Bytes cut(whole.begin(), whole.begin() + long(n));
      EXPECT_THROW(read_as(kind, cut), IOError) << entry.path() << " cut to " << n << " bytes";
    }
  }
}

TEST_P(Damage, FlippedBitsGiveATensorOrAnIOError) {
  const std::string kind = GetParam();
  for (const auto& entry : fs::directory_iterator(corpus(kind))) {
    Bytes bytes = read_bytes(entry.path().string());
    for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
      bytes[bit / 8] ^= uint8_t(1u << bit % 8);
      try {
        read_as(kind, bytes);
      } catch (const IOError&) {}
      bytes[bit / 8] ^= uint8_t(1u << bit % 8);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Io, Damage, ::testing::Values("npy", "npz", "safetensors", "idx", "gz"));

TEST(Gz, EveryFlippedBitOfTheDataIsNoticed) {
  Bytes bytes = read_bytes(corpus("gz/one.gz"));
  for (size_t i = 10; i < bytes.size(); ++i) {  // after the header, whose fields say little
    bytes[i] ^= 4;
    EXPECT_THROW(parse_idx(bytes), IOError) << "byte " << i;
    bytes[i] ^= 4;
  }
}

TEST(Files, MissingAndStrangePathsThrow) {
  EXPECT_EQ(error_of<IOError>([] { MappedFile::open("/nowhere/x"); }),
            "open(/nowhere/x): cannot open for reading: No such file or directory");
  EXPECT_EQ(error_of<IOError>([] { load_npy("/dev"); }), "open(/dev): not a plain file");
  EXPECT_EQ(error_of<IOError>([] { save_npy("/nowhere/x.npy", zeros({1})); }),
            "save(/nowhere/x.npy): cannot create a file beside it: No such file or directory");
}

TEST(Files, AFailedSaveLeavesTheOldFileWhole) {
  const TemporaryFolder folder;
  const std::string path = folder / "x.safetensors";
  save_safetensors(path, {{"w", full({1000}, 1, f32)}});
  const Bytes before = read_bytes(path);
  // The kernel refuses to let this process's files grow: a full disk as seen from the writer.
  rlimit old{};
  getrlimit(RLIMIT_FSIZE, &old);
  const rlimit small{100000, old.rlim_max};
  signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &small);
  const std::string text = error_of<IOError>([&] {
    save_safetensors(path, {{"w", full({100000}, 2, f32)}});
  });
  setrlimit(RLIMIT_FSIZE, &old);
  EXPECT_NE(text.find("cannot write: File too large"), std::string::npos) << text;
  EXPECT_EQ(read_bytes(path), before);
  EXPECT_EQ(folder.files().size(), 1u);
}

TEST(Files, AKilledSaveLeavesTheOldFileWhole) {
  const TemporaryFolder folder;
  const std::string path = folder / "x.safetensors";
  save_safetensors(path, {{"w", full({200000}, 1, f32)}});
  const pid_t child = fork();
  if (child == 0) {
    for (int value = 2;; ++value) save_safetensors(path, {{"w", full({200000}, value, f32)}});
  }
  usleep(60000);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  const std::vector<float> w = find(load_safetensors(path), "w").to_vector<float>();
  ASSERT_EQ(w.size(), 200000u);
  for (float v : w) ASSERT_EQ(v, w[0]);
}

TEST(Files, KilledSavesLeaveNothingBehind) {
  const TemporaryFolder folder;
  const std::string path = folder / "x.safetensors", model = folder / "m.onnx";
  onnx::Model m;
  m.graph.name = "g";
  m.graph.initializers.push_back(
      {.name = "w", .type = onnx::ElementType::float32, .dims = {50000}, .tensor = ones({50000})});
  save_safetensors(path, {{"w", full({50000}, 1, f32)}});
  onnx::write_model(model, m, {.external_above = 100});
  for (int round = 0; round < 25; ++round) {
    const pid_t child = fork();
    if (child == 0) {
      for (int value = 2;; ++value) {
        save_safetensors(path, {{"w", full({50000}, value, f32)}});
        onnx::write_model(model, m, {.external_above = 100});
      }
    }
    usleep(useconds_t(3000 + 1700 * round));
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
  }
  save_safetensors(path, {{"w", full({50000}, 0, f32)}});
  onnx::write_model(model, m, {.external_above = 100});
  std::set<std::string> expected{"x.safetensors", "m.onnx"};
  for (const std::string& name : folder.files())
    if (name.starts_with("m.onnx.") && name.ends_with("data")) expected.insert(name);
  EXPECT_EQ(expected.size(), 3u);
  EXPECT_EQ(folder.files(), expected);
}

TEST(Files, WhatDeadProcessesLeftIsRemovedAndNoOtherFile) {
  const TemporaryFolder folder;
  const auto put = [&](const std::string& name) {
    const int fd = open((folder / name).c_str(), O_WRONLY | O_CREAT, 0666);
    EXPECT_EQ(write(fd, "left", 4), 4);
    return fd;
  };
  for (const char* name :
       {".x.npy.0.tandem.tmp", ".other.5.tandem.tmp", ".x.npy.0.tmp", "x.tandem.tmp"})
    close(put(name));
  // Another process is writing this one, and so is this process, for all that a lock tells.
  const int held = put(".x.npy.1.tandem.tmp");
  EXPECT_EQ(flock(held, LOCK_EX), 0);
  fs::create_symlink("x.tandem.tmp", folder / ".link.0.tandem.tmp");
  save_npy(folder / "x.npy", ones({3}));
  EXPECT_EQ(folder.files(), (std::set<std::string>{"x.npy", "x.tandem.tmp", ".x.npy.0.tmp",
                                                   ".x.npy.1.tandem.tmp", ".link.0.tandem.tmp"}));
  close(held);
  save_npy(folder / "x.npy", ones({4}));
  EXPECT_FALSE(folder.files().count(".x.npy.1.tandem.tmp"));
  EXPECT_EQ(load_npy(folder / "x.npy").numel(), 4);
}

TEST(Files, ASaveThatFailsOrIsGivenUpLeavesNothing) {
  const TemporaryFolder folder;
  {
    AtomicFile file(folder / "a");
    file.write("x");
    file.sync();
  }
  EXPECT_EQ(folder.files().size(), 0u);
  {
    AtomicFile first(folder / "b"), second(folder / "b");  // at once
    first.write("1");
    second.write("22");
    first.commit();
    second.commit();
    EXPECT_THROW(second.write("3"), IOError);
  }
  EXPECT_EQ(tandem::testing::read_text(folder / "b"), "22");
  EXPECT_EQ(folder.files(), std::set<std::string>{"b"});
  const std::string long_name(240, 'n');
  save_npy(folder / long_name, ones({2}));
  save_npy(folder / long_name, ones({5}));
  EXPECT_EQ(load_npy(folder / long_name).numel(), 5);
}

TEST(Files, ASaveKeepsLinksAndPermissions) {
  const TemporaryFolder folder;
  save_npy(folder / "real.npy", zeros({2}));
  chmod((folder / "real.npy").c_str(), 0640);
  fs::create_symlink("real.npy", folder / "link.npy");
  save_npy(folder / "link.npy", ones({3}));
  EXPECT_TRUE(fs::is_symlink(folder / "link.npy"));
  EXPECT_EQ(load_npy(folder / "real.npy").shape(), Shape{3});
  struct stat info {};
  stat((folder / "real.npy").c_str(), &info);
  EXPECT_EQ(info.st_mode & 0777, 0640u);
}

}  // namespace
