//! AES-GCM and AES-CMAC of Zig's standard library, behind the C names of tee/crypto.h.
const std = @import("std");
const Gcm = std.crypto.aead.aes_gcm.Aes128Gcm;
const Cmac = std.crypto.auth.cmac.CmacAes128;

pub fn panic(_: []const u8, _: ?*std.builtin.StackTrace, _: ?usize) noreturn {
    @trap();
}

export fn tee_aes_gcm_seal(
    key: *const [16]u8,
    iv: *const [12]u8,
    additional: [*]const u8,
    additional_size: usize,
    plaintext: [*]const u8,
    size: usize,
    ciphertext: [*]u8,
    tag: *[16]u8,
) void {
    Gcm.encrypt(ciphertext[0..size], tag, plaintext[0..size], additional[0..additional_size], iv.*, key.*);
}

export fn tee_aes_gcm_open(
    key: *const [16]u8,
    iv: *const [12]u8,
    additional: [*]const u8,
    additional_size: usize,
    ciphertext: [*]const u8,
    size: usize,
    tag: *const [16]u8,
    plaintext: [*]u8,
) bool {
    Gcm.decrypt(plaintext[0..size], ciphertext[0..size], tag.*, additional[0..additional_size], iv.*, key.*) catch return false;
    return true;
}

export fn tee_aes_cmac(key: *const [16]u8, data: [*]const u8, size: usize, mac: *[16]u8) void {
    Cmac.create(mac, data[0..size], key);
}

export fn tee_pbkdf2_sha256(
    password: [*]const u8,
    password_size: usize,
    salt: [*]const u8,
    salt_size: usize,
    rounds: u32,
    key: [*]u8,
    key_size: usize,
) void {
    const Hmac = std.crypto.auth.hmac.sha2.HmacSha256;
    // Its errors: no rounds, or a key longer than 2^32 - 1 blocks.
    std.crypto.pwhash.pbkdf2(key[0..key_size], password[0..password_size], salt[0..salt_size], rounds, Hmac) catch @trap();
}
