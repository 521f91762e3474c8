//! Functions of Zig's standard library, behind the C names of tee/crypto.h.
const std = @import("std");
const Gcm = std.crypto.aead.aes_gcm.Aes128Gcm;
const Cmac = std.crypto.auth.cmac.CmacAes128;
const P256 = std.crypto.ecc.P256;
const Ecdsa = std.crypto.sign.ecdsa.EcdsaP256Sha256;
const Hkdf = std.crypto.kdf.hkdf.HkdfSha256;

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

export fn tee_hkdf_sha256(ikm: [*]const u8, ikm_size: usize, info: [*]const u8, info_size: usize, out: [*]u8, size: usize) void {
    Hkdf.expand(out[0..size], info[0..info_size], Hkdf.extract("", ikm[0..ikm_size]));
}

export fn tee_p256_secret(seed: *const [40]u8, secret: *[32]u8) void {
    const most: u320 = P256.scalar.field_order - 1;
    const value = std.mem.readInt(u320, seed, .big) % most + 1;
    std.mem.writeInt(u256, secret, @intCast(value), .big);
}

export fn tee_p256_derive(key: *const [16]u8, label: [*]const u8, label_size: usize, secret: *[32]u8) void {
    var blocks: [48]u8 = undefined;
    defer std.crypto.secureZero(u8, &blocks);
    for (0..3) |n| {
        var text: [16]u8 = @splat(0);
        text[0] = @intCast(n + 1);
        @memcpy(text[1..][0..label_size], label[0..label_size]);
        std.mem.writeInt(u16, text[14..], 320, .big);
        Cmac.create(blocks[16 * n ..][0..16], &text, key);
    }
    tee_p256_secret(blocks[0..40], secret);
}

fn pair(secret: *const [32]u8) !Ecdsa.KeyPair {
    return Ecdsa.KeyPair.fromSecretKey(try Ecdsa.SecretKey.fromBytes(secret.*));
}

fn point(public: *const [64]u8) !P256 {
    return P256.fromSerializedAffineCoordinates(public[0..32].*, public[32..64].*, .big);
}

export fn tee_p256_public(secret: *const [32]u8, public: *[64]u8) bool {
    const keys = pair(secret) catch return false;
    public.* = keys.public_key.toUncompressedSec1()[1..].*;
    return true;
}

export fn tee_p256_sign(secret: *const [32]u8, data: [*]const u8, size: usize, signature: *[64]u8) bool {
    const keys = pair(secret) catch return false;
    const made = keys.sign(data[0..size], null) catch return false;
    signature.* = made.toBytes();
    return true;
}

export fn tee_p256_verify(public: *const [64]u8, data: [*]const u8, size: usize, signature: *const [64]u8) bool {
    const key = Ecdsa.PublicKey{ .p = point(public) catch return false };
    Ecdsa.Signature.fromBytes(signature.*).verify(data[0..size], key) catch return false;
    return true;
}

export fn tee_p256_shared(secret: *const [32]u8, public: *const [64]u8, shared: *[32]u8) bool {
    const both = (point(public) catch return false).mul(secret.*, .big) catch return false;
    shared.* = both.affineCoordinates().x.toBytes(.big);
    return true;
}

export fn tee_base64_decode(text: [*]const u8, size: usize, out: [*]u8, capacity: usize, made: *usize) bool {
    const decoder = std.base64.standard.decoderWithIgnore("\r\n");
    made.* = decoder.decode(out[0..capacity], text[0..size]) catch return false;
    return true;
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
