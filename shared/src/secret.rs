//! The master key, and what is sealed with it.
//!
//! A tenant's URL is sealed with XChaCha20-Poly1305 under a key derived from the master key and the tenant's
//! id (HKDF-SHA-256), with that id as associated data: a sealed URL that is copied to another tenant's row
//! does not open. The stored form is `v1.<key id>.<base64 of nonce and ciphertext>`; the key id is not secret
//! and tells a wrong key from damage.

use base64::{Engine as _, engine::general_purpose::STANDARD, engine::general_purpose::URL_SAFE_NO_PAD};
use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use hkdf::Hkdf;
use secrecy::{ExposeSecret, SecretBox};
use sha2::Sha256;

use crate::{digest::hex, id::TenantId};

const NONCE_BYTES: usize = 24;

/// 32 bytes that open every tenant's URL.
pub struct MasterKey {
    bytes: SecretBox<[u8; 32]>,
    /// What the keys of tenants are derived by: the same for all of them.
    derive: Hkdf<Sha256>,
    id: String,
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MasterKey({})", self.id)
    }
}

/// What is wrong with a key or a sealed text. Names no secret.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SecretError {
    /// The key is not 32 bytes.
    #[error("the master key is not 32 bytes in hexadecimal or base64")]
    KeyForm,
    /// Sealed with another key.
    #[error("sealed with key {sealed_with}, and the key given is {given}")]
    WrongKey {
        /// The id of the key it was sealed with.
        sealed_with: String,
        /// The id of the key at hand.
        given: String,
    },
    /// Not what was sealed, or sealed for another tenant.
    #[error("a sealed URL is damaged or belongs to another tenant")]
    Damaged,
    /// The system has no randomness to give.
    #[error("the system gave no random bytes")]
    NoRandomness,
}

impl MasterKey {
    /// Reads 64 hexadecimal digits, or base64 of 32 bytes.
    ///
    /// # Errors
    /// [`SecretError::KeyForm`] for anything else.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let text = text.trim();
        let from_hex = || (text.len() == 64).then(|| unhex(text)).flatten();
        let from_base64 = || {
            let bare = text.trim_end_matches('=');
            STANDARD.decode(text).or_else(|_| URL_SAFE_NO_PAD.decode(bare)).ok()?.try_into().ok()
        };
        from_hex().or_else(from_base64).map(Self::new).ok_or(SecretError::KeyForm)
    }

    /// A new key.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn generate() -> Result<Self, SecretError> {
        random().map(Self::new)
    }

    fn new(bytes: [u8; 32]) -> Self {
        let bytes = SecretBox::new(Box::new(bytes));
        let derive = Hkdf::new(None, bytes.expose_secret());
        let mut id = [0_u8; 4];
        expand(&derive, &[b"tenantry key id"], &mut id);
        Self { bytes, derive, id: hex(&id) }
    }

    /// Eight hexadecimal digits that name the key and tell nothing of it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The key in hexadecimal, for the file it is kept in.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex(self.bytes.expose_secret())
    }

    /// Seals a text for one tenant.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn seal(&self, tenant: TenantId, text: &str) -> Result<String, SecretError> {
        let nonce: [u8; NONCE_BYTES] = random()?;
        let payload = Payload { msg: text.as_bytes(), aad: tenant.as_bytes() };
        let sealed =
            self.cipher(tenant).encrypt(&XNonce::from(nonce), payload).map_err(|_| SecretError::Damaged)?;
        Ok(format!("v1.{}.{}", self.id, STANDARD.encode([&nonce[..], &sealed].concat())))
    }

    /// Opens what was sealed for this tenant.
    ///
    /// # Errors
    /// When it was sealed with another key or for another tenant, or is damaged.
    pub fn open(&self, tenant: TenantId, sealed: &str) -> Result<String, SecretError> {
        let mut parts = sealed.splitn(3, '.');
        let (Some("v1"), Some(key), Some(text)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(SecretError::Damaged);
        };
        if key != self.id {
            return Err(SecretError::WrongKey { sealed_with: key.to_owned(), given: self.id.clone() });
        }
        let bytes = STANDARD.decode(text).map_err(|_| SecretError::Damaged)?;
        let (nonce, message) = bytes.split_first_chunk::<NONCE_BYTES>().ok_or(SecretError::Damaged)?;
        let payload = Payload { msg: message, aad: tenant.as_bytes() };
        let plain =
            self.cipher(tenant).decrypt(&XNonce::from(*nonce), payload).map_err(|_| SecretError::Damaged)?;
        String::from_utf8(plain).map_err(|_| SecretError::Damaged)
    }

    fn cipher(&self, tenant: TenantId) -> XChaCha20Poly1305 {
        let mut key = [0_u8; 32];
        expand(&self.derive, &[b"tenantry url ", tenant.as_bytes()], &mut key);
        XChaCha20Poly1305::new(&key.into())
    }
}

#[expect(clippy::expect_used, reason = "HKDF gives up to 8160 bytes, and at most 32 are asked for")]
fn expand(derive: &Hkdf<Sha256>, info: &[&[u8]], out: &mut [u8]) {
    derive.expand_multi_info(info, out).expect("a valid length");
}

fn random<const N: usize>() -> Result<[u8; N], SecretError> {
    let mut bytes = [0_u8; N];
    getrandom::fill(&mut bytes).map_err(|_| SecretError::NoRandomness)?;
    Ok(bytes)
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0_u8; 32];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(at * 2..at * 2 + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// A text with a password taken out of it, both as it is and percent-encoded as it stands in a URL.
#[must_use]
pub fn redact(text: &str, password: Option<&str>) -> String {
    match password {
        Some(password) if !password.is_empty() => {
            let encoded = percent_encoding::utf8_percent_encode(password, percent_encoding::NON_ALPHANUMERIC)
                .to_string();
            text.replace(password, "***").replace(&encoded, "***")
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_url_opens_for_its_tenant_with_its_key_only() {
        let (key, other) = (MasterKey::generate().unwrap(), MasterKey::generate().unwrap());
        let (a, b) = (TenantId::new(), TenantId::new());
        let sealed = key.seal(a, "postgres://u:p@h/d").unwrap();
        assert!(!sealed.contains("postgres"));
        assert_eq!(key.open(a, &sealed).as_deref(), Ok("postgres://u:p@h/d"));
        assert_eq!(key.open(b, &sealed), Err(SecretError::Damaged));
        assert!(matches!(other.open(a, &sealed), Err(SecretError::WrongKey { .. })));
        let cut = &sealed[..sealed.len() - 8];
        assert_eq!(key.open(a, cut), Err(SecretError::Damaged));
    }

    #[test]
    fn a_key_is_read_in_both_notations() {
        let key = MasterKey::generate().unwrap();
        let bytes = key.bytes.expose_secret();
        for text in [
            key.to_hex(),
            STANDARD.encode(bytes),
            URL_SAFE_NO_PAD.encode(bytes),
            format!("{}\n", key.to_hex()),
        ] {
            assert_eq!(MasterKey::parse(&text).unwrap().id(), key.id());
        }
        for bad in ["", "secret", "abcd", &"g".repeat(64), &"ab".repeat(16)] {
            assert_eq!(MasterKey::parse(bad).unwrap_err(), SecretError::KeyForm, "{bad}");
        }
    }

    #[test]
    fn a_password_is_taken_out_of_messages() {
        assert_eq!(redact("cannot use p@ss or p%40ss", Some("p@ss")), "cannot use *** or ***");
        assert_eq!(redact("same", None), "same");
        assert_eq!(redact("same", Some("")), "same");
    }

    #[test]
    fn debug_does_not_show_the_key() {
        let key = MasterKey::generate().unwrap();
        assert!(!format!("{key:?}").contains(&key.to_hex()));
    }
}
