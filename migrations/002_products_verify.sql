-- Migration: 002_products
-- Description: A table of several tenants must never be without its policies

SELECT relrowsecurity FROM pg_class WHERE oid = 'shop.products'::regclass;

SELECT count(*) = 2 FROM pg_policies WHERE schemaname = 'shop' AND tablename = 'products';
