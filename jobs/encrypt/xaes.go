package encrypt

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"errors"
)

// xaes is XAES-256-GCM as of https://c2sp.org/XAES-256-GCM: the first half of a nonce of
// 24 bytes derives a key of AES-256-GCM, the second half is its nonce. With nonces of 12
// random bytes, as AES-GCM itself has them, a secret would be used up after 2³² messages,
// which are five days of 10,000 jobs a second.
type xaes struct {
	block  cipher.Block
	subkey [aes.BlockSize]byte // K1 of CMAC
}

var _ cipher.AEAD = (*xaes)(nil)

const (
	nonceSize = 24
	tagSize   = 16
)

var errNonce = errors.New("encrypt: a nonce has 24 bytes")

func newXAES(secret []byte) (*xaes, error) {
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, err
	}
	x := &xaes{block: block}
	block.Encrypt(x.subkey[:], x.subkey[:])
	carry := byte(0)
	for i := len(x.subkey) - 1; i >= 0; i-- {
		carry, x.subkey[i] = x.subkey[i]>>7, x.subkey[i]<<1|carry
	}
	x.subkey[len(x.subkey)-1] ^= carry * 0b1000_0111
	return x, nil
}

// derive makes the cipher of a message from the first half of its nonce.
func (x *xaes) derive(half []byte) (cipher.AEAD, error) {
	key := make([]byte, 0, 2*aes.BlockSize)
	for counter := byte(1); counter <= 2; counter++ {
		key = append(key, 0, counter, 'X', 0)
		key = append(key, half...)
		block := key[len(key)-aes.BlockSize:]
		subtle.XORBytes(block, block, x.subkey[:])
		x.block.Encrypt(block, block)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func (*xaes) NonceSize() int { return nonceSize }
func (*xaes) Overhead() int  { return tagSize }

func (x *xaes) Seal(dst, nonce, plaintext, additional []byte) []byte {
	if len(nonce) != nonceSize {
		panic(errNonce)
	}
	gcm, err := x.derive(nonce[:nonceSize/2])
	if err != nil {
		panic(err)
	}
	return gcm.Seal(dst, nonce[nonceSize/2:], plaintext, additional)
}

func (x *xaes) Open(dst, nonce, ciphertext, additional []byte) ([]byte, error) {
	if len(nonce) != nonceSize {
		return nil, errNonce
	}
	gcm, err := x.derive(nonce[:nonceSize/2])
	if err != nil {
		return nil, err
	}
	return gcm.Open(dst, nonce[nonceSize/2:], ciphertext, additional)
}
