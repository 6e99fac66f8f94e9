package keyvault

import (
	"crypto/aes"
	"crypto/subtle"
	"encoding/binary"
)

// aesIV begins every value before it is wrapped (RFC 3394 §2.2.3.1).
const aesIV = 0xa6a6a6a6a6a6a6a6

// wrapAES is A256KW (RFC 3394 §2.2.1).
func wrapAES(key, plain []byte) ([]byte, error) {
	block, err := aes.NewCipher(key)
	if err != nil || len(plain)%8 != 0 || len(plain) < 16 {
		return nil, errValue
	}
	n := len(plain) / 8
	out := append(make([]byte, 8), plain...)
	var buf [16]byte
	binary.BigEndian.PutUint64(buf[:], aesIV)
	for j := range 6 {
		for i := 1; i <= n; i++ {
			copy(buf[8:], out[8*i:])
			block.Encrypt(buf[:], buf[:])
			binary.BigEndian.PutUint64(buf[:], binary.BigEndian.Uint64(buf[:])^uint64(n*j+i))
			copy(out[8*i:], buf[8:])
		}
	}
	copy(out, buf[:8])
	return out, nil
}

// unwrapAES is its inverse (RFC 3394 §2.2.2).
func unwrapAES(key, wrapped []byte) ([]byte, error) {
	block, err := aes.NewCipher(key)
	if err != nil || len(wrapped)%8 != 0 || len(wrapped) < 24 {
		return nil, errValue
	}
	n := len(wrapped)/8 - 1
	out := append([]byte(nil), wrapped...)
	var buf [16]byte
	copy(buf[:], wrapped)
	for j := 5; j >= 0; j-- {
		for i := n; i >= 1; i-- {
			binary.BigEndian.PutUint64(buf[:], binary.BigEndian.Uint64(buf[:])^uint64(n*j+i))
			copy(buf[8:], out[8*i:])
			block.Decrypt(buf[:], buf[:])
			copy(out[8*i:], buf[8:])
		}
	}
	if subtle.ConstantTimeCompare(buf[:8], binary.BigEndian.AppendUint64(nil, aesIV)) != 1 {
		return nil, errValue
	}
	return out[8:], nil
}
